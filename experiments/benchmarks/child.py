"""Runs one function in a process of its own: python -m experiments.benchmarks.child MODULE:FUNCTION ARGUMENTS."""

import importlib
import json
import resource
import sys
from pathlib import Path


def peak_bytes() -> int:
    """The largest memory that this process has held.

    `ru_maxrss` is kept across fork and exec, so that a child begins with its parent's peak; Linux's VmHWM is the
    process's own.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status("VmHWM") or (peak if sys.platform == "darwin" else 1024 * peak)


def present_bytes() -> int:
    """The memory that this process holds now; 0 where that is not known."""
    return _status("VmRSS")


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
