"""One generated input, and what came of it."""

import io
import re
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, NamedTuple

SECONDS, GIGABYTES = 60, 2.0


class Case(NamedTuple):
    """What to run, whether it must be refused, and how it reads in a report."""

    run: Callable[[], Any]
    nonsense: bool
    text: str


class ReachedError(BaseException):
    """What was to be tried is over: training, or measuring, is about to start."""


class HangError(BaseException):
    """A case took too long."""


def stop(*arguments: Any, **options: Any) -> None:
    """Stands for training."""
    raise ReachedError


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    def end(*arguments: Any) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def refusal(run: Callable[[], Any]) -> str | None:
    """The message with which a case is refused, or None."""
    try:
        run()
    except ReachedError:
        return None
    except (ValueError, TypeError, OSError) as error:
        return str(error)
    except SystemExit as ended:
        if ended.code in (0, None):
            return None
        if ended.code == 2 or re.fullmatch(r"error: [^\x00-\x1f]+", str(ended.code)):
            return str(ended.code)
        raise RuntimeError(f"a program ended with {ended.code!r}") from ended
    return None


class Outcome(NamedTuple):
    """Whether a case was accepted, and what is wrong with how it ended, or None."""

    accepted: bool
    wrong: str | None = None


def try_case(case: Case) -> Outcome:
    """Runs a case."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with time_limit(SECONDS), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                said = refusal(case.run)
    except HangError:
        return Outcome(False, f"took more than {SECONDS} s")
    except KeyboardInterrupt:
        raise
    except BaseException:
        return Outcome(False, "".join(traceback.format_exception(*sys.exc_info())[-6:]))
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    if taken > GIGABYTES:
        return Outcome(said is None, f"took {taken:.1f} GiB")
    if said is None:
        return Outcome(True, "nonsense was accepted" if case.nonsense else None)
    return Outcome(False, None if said.strip() else "there is no message")
