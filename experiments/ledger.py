"""How do priors compare where papers compare them? Runs the settings of the table one after another, in the background.

nice python -m experiments.ledger        what is missing or stale, the most wanted first; it can be stopped at any time
python -m experiments.ledger --list      what is done, running and missing, and how long each takes
python -m experiments.tables             fills the tables from the results in experiments/results/ledger
"""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.data.sources import cache_folder, user_path
from experiments.options import command_line
from experiments.published.queue import LOCK, Entry, Queue, entries, locked, run_all
from experiments.published.recipe import RECIPE
from experiments.published.settings import SETTINGS
from experiments.runs import signals


@dataclass(frozen=True)
class Options:
    """Trains and measures one setting after another; started again, it goes on where it was."""

    list: bool = False
    """Show each setting with its state and its cost, and run nothing."""
    only: str | None = None
    """Only settings whose names match, such as static_mnist or "two_level*vamp"."""
    max_minutes: float | None = None
    """Stop after so many minutes; the next call goes on."""
    work_dir: str = str(cache_folder() / "ledger")
    """Checkpoints and finished measures."""
    data_dir: str | None = None
    """Folder of omniglot_28.npz and caltech101_silhouettes_28.npz; by default the environment's VAEPRIORS_DATA."""
    niceness: int = 19
    """How far other processes go first, from 0 to 19."""


class TimeIsUp(BaseException):
    """The minutes of this program are over."""


def _stop(number: int, frame: Any) -> None:
    raise TimeIsUp


def _stop_after(max_minutes: float | None) -> None:
    """The end of the time raises `TimeIsUp`."""
    if max_minutes is not None and not 0 < max_minutes < 1e6:
        raise ValueError(f"Expected --max-minutes > 0; got {max_minutes}.")
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, 60 * (max_minutes or 0))


def show(found: list[Entry]) -> str:
    """A line for each setting, and what they cost together."""
    width = max(len(entry.name) for entry in found)
    lines = []
    for entry in found:
        cost = f"{'about ' if entry.estimated else ''}{entry.minutes:.0f} min"
        nll = "" if entry.nll is None else f"  {entry.nll:.2f} nats"
        lines.append(f"{entry.name:{width}}  {cost:>13}  {entry.state}{nll}")
    left = [entry.minutes for entry in found if entry.state != "done"]
    return "\n".join(
        [*lines, f"{len(found) - len(left)} of {len(found)} done; about {sum(left) / 60:.0f} hours are left."]
    )


def resumed(folder: Path) -> Options:
    """The options that go on with the work in a folder.

    Raises:
        ValueError: there is none.
    """
    if not (folder / LOCK).exists():
        raise ValueError(f"Expected the --work-dir of an interrupted ledger after --resume; {folder} is none.")
    return Options(work_dir=str(folder))


def main(options: Options) -> None:
    """Lists the settings, or runs those that are left."""
    work_dir = user_path(options.work_dir)
    queue = Queue(SETTINGS, RECIPE, work_dir, data_dir=options.data_dir).matching(options.only)
    if options.list:
        print(show(entries(queue)))
        return
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    kept = f"What was finished is kept in {work_dir}. The same command goes on."
    with locked(work_dir), signals.advise(kept):
        os.nice(max(0, options.niceness - os.nice(0)))
        try:
            _stop_after(options.max_minutes)
            failed = run_all(queue)
        except TimeIsUp:
            print(f"Stopped after {options.max_minutes:g} minutes. {kept}", flush=True)
            return
    if failed:
        sys.exit(f"error: failed: {', '.join(setting.name for setting in failed)}. Run it again for another try.")


if __name__ == "__main__":
    command_line.run(main, Options, resumed=resumed)
