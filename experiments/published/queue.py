"""The settings of the ledger one after another: what is done, what is left, and one process at a time."""

import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.data.sources import cache_folder
from experiments.options.command_line import USER_ERRORS, in_one_line
from experiments.published.recipe import Recipe
from experiments.published.records import LEDGER, Record, is_stale, read_record
from experiments.published.run import folder_of, run
from experiments.published.settings import Setting
from experiments.published.stopwatch import read_times, seconds_of

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

LOCK = "lock"  # in the folder of a ledger


class Queue(NamedTuple):
    """The settings, their recipe, and where they are run.

    Attributes:
        settings: the settings, the most wanted ones first.
        recipe: how they are trained and measured.
        work_dir: checkpoints and finished measures.
        results_dir: the result files.
        data_dir: the .npz files; None for the environment's VAEPRIORS_DATA.
    """

    settings: Sequence[Setting]
    recipe: Recipe
    work_dir: Path = cache_folder() / "ledger"
    results_dir: Path = LEDGER
    data_dir: str | None = None

    def matching(self, pattern: str | None) -> "Queue":
        """Those settings whose names hold a text, or match a pattern with * and ?.

        Raises:
            ValueError: there are none.
        """
        if pattern is None:
            return self
        found = tuple(setting for setting in self.settings if fnmatch(setting.name, f"*{pattern}*"))
        if not found:
            raise ValueError(
                f"Expected --only to match a setting, such as static_mnist_one_level_vamp_seed0; got {pattern!r}. "
                "--list shows all."
            )
        return self._replace(settings=found)

    def record(self, setting: Setting) -> Record | None:
        """The result of a setting."""
        return read_record(setting, self.results_dir)

    def left(self) -> list[Setting]:
        """The settings whose result is missing or stale."""
        records = ((setting, self.record(setting)) for setting in self.settings)
        return [setting for setting, record in records if record is None or is_stale(record, self.recipe)]


def run_all(queue: Queue) -> list[Setting]:
    """Runs what is missing or stale, and returns the settings that failed; the others go on."""
    failed = []
    for setting in queue.left():
        record = queue.record(setting)  # another process may have finished it meanwhile
        if record is not None and not is_stale(record, queue.recipe):
            continue
        print(f"{time.strftime('%H:%M')} {setting.name}, about {setting.minutes:.0f} minutes without other work")
        try:
            record = run(setting, queue.recipe, queue.work_dir, queue.data_dir, queue.results_dir)
        except Exception as error:
            if not isinstance(error, USER_ERRORS):
                traceback.print_exc()
            print(f"{setting.name} failed: {in_one_line(error)}", file=sys.stderr, flush=True)
            failed.append(setting)
            continue
        nll = -record["row"]["test"]["log_marginal"]
        print(f"{time.strftime('%H:%M')} {setting.name}: {nll:.2f} nats, {record['seconds'] / 60:.0f} minutes")
        jax.clear_caches()
    return failed


class Entry(NamedTuple):
    """What is known of a setting: its state, its test NLL in nats, and its minutes, estimated until it is done."""

    name: str
    state: str
    nll: float | None
    minutes: float
    estimated: bool


def entries(queue: Queue) -> list[Entry]:
    """The state of each setting."""
    process = process_at_work(queue.work_dir)
    return [_entry(queue, setting, process) for setting in queue.settings]


def _entry(queue: Queue, setting: Setting, process: int | None) -> Entry:
    record = queue.record(setting)
    if record is not None and not is_stale(record, queue.recipe):
        nll = -record["row"]["test"]["log_marginal"]
        return Entry(setting.name, "done", nll, record["seconds"] / 60, estimated=False)
    times = read_times(folder_of(setting, queue.recipe, queue.work_dir) / "times.json")
    stage, spent = times["stage"], seconds_of(times) / 60
    state = "missing" if record is None else "stale"
    if stage:
        running = process is not None and times["process"] == process
        state = f"{'running' if running else 'stopped'} ({stage}) after {spent:.0f} min"
    return Entry(setting.name, state, None, setting.minutes, estimated=True)


@contextmanager
def locked(work_dir: Path) -> Iterator[None]:
    """Holds a folder for this process; a process that dies lets go of it.

    Raises:
        ValueError: another process holds it.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    with (work_dir / LOCK).open("a+") as file:
        if not _lock(file):
            raise ValueError(
                f"Expected no other ledger at work in {work_dir}; one is. Wait for it, stop it, or choose another "
                "--work-dir."
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def process_at_work(work_dir: Path) -> int | None:
    """The process that holds the folder, if one does."""
    if not (work_dir / LOCK).exists():
        return None
    with (work_dir / LOCK).open("a+") as file:
        if _lock(file):
            return None
        file.seek(0)
        return int(file.read() or 0)


def _lock(file: Any) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
