"""Runs one function in a process of its own: python -m experiments.benchmarks.child MODULE:FUNCTION ARGUMENTS."""

import importlib
import json
import resource
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def peak_bytes() -> int:
    """The largest memory that this process has held.

    `ru_maxrss` is kept across fork and exec, so that a child begins with its parent's peak; Linux's VmHWM is the
    process's own.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status("VmHWM") or (peak if sys.platform == "darwin" else 1024 * peak)


def own_bytes() -> int:
    """The memory that this process holds now, without mapped pages of files; 0 where that is not known.

    The system takes pages of files back when it needs memory, and maps as many as it likes at once.
    """
    return _status("RssAnon")


def watch_memory(call: Callable[[], Result], every: float = 0.01) -> tuple[Result, list[int]]:
    """Returns what `call` returns, and `own_bytes()` again and again meanwhile."""
    found, ended = [own_bytes()], threading.Event()

    def watch() -> None:
        while not ended.wait(every):
            found.append(own_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return call(), found
    finally:
        ended.set()
        thread.join()


def _status(name: str) -> int:
    """A number of bytes from Linux's status of the process; 0 elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith(name)))
    except (OSError, StopIteration):
        return 0


def main() -> None:
    """Prints the function's dictionary as the last line."""
    module, function = sys.argv[1].split(":")
    result = getattr(importlib.import_module(f"experiments.benchmarks.{module}"), function)(**json.loads(sys.argv[2]))
    print("\n" + json.dumps(result | {"peak_bytes": peak_bytes()}), flush=True)


if __name__ == "__main__":
    main()
