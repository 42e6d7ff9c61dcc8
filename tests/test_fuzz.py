"""Generated input: no traceback, no hang, no nonsense accepted. `python -m tests.fuzz` repeats and extends it."""

import subprocess
import sys

import pytest

from tests.fuzz.__main__ import run_cases
from tests.fuzz.case import Case, ReachedError, stop, try_case


def check(tried):
    wrong = [text for kind in tried for text in kind.failures]
    assert not wrong, "\n".join(wrong)
    # A generator whose cases are all refused would find nothing.
    assert all(0 < kind.accepted < kind.number or kind.number < 10 for kind in tried), tried


@pytest.mark.slow
def test_generated_input_is_accepted_or_refused_with_a_message():
    check(run_cases(200))


# orbax leaves reads of damaged checkpoints behind, which complain when they are collected, wherever that is.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.nightly
def test_much_generated_input_is_accepted_or_refused_with_a_message():
    check(run_cases(2500, seed=1))


def fail(error):
    raise error


@pytest.mark.parametrize(
    ("run", "nonsense", "wrong"),
    [
        (stop, True, "nonsense was accepted"),
        (lambda: None, True, "nonsense was accepted"),
        (stop, False, None),
        (lambda: fail(ValueError("Expected 3")), False, None),
        (lambda: fail(ValueError()), False, "there is no message"),
        (lambda: fail(SystemExit(2)), True, None),
        (lambda: fail(SystemExit("error: \x1b")), True, "a program ended with"),
        (lambda: fail(SystemExit(0)), True, "nonsense was accepted"),
        (lambda: fail(KeyError("x")), False, "KeyError"),
        (lambda: fail(RecursionError()), False, "RecursionError"),
    ],
)
def test_what_counts_as_a_failure(run, nonsense, wrong):
    found = try_case(Case(run, nonsense, "")).wrong
    assert found is None if wrong is None else wrong in found


def test_a_hang_is_noticed(monkeypatch):
    monkeypatch.setattr("tests.fuzz.case.SECONDS", 1)
    assert "took more than 1 s" in try_case(Case(lambda: [None for _ in iter(int, 1)], False, "")).wrong
    with pytest.raises(ReachedError):
        stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [["compare_priors", "--seeds", "0"], ["evaluate", "\x1b[2J"], ["prior_holes", "--dataset", "no.npz"]]
)
def test_a_program_of_its_own_says_one_line(arguments):
    command = [sys.executable, "-m", f"experiments.{arguments[0]}", *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert [line[:6] for line in done.stderr.splitlines()] == ["error:"]
    assert "\x1b" not in done.stderr
