"""Injects faults into a copy of the repository, one at a time, and counts how many the tests catch."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from tests.faults.injected import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[2]
LEAST_SCORE = 0.97
TIMEOUT_S = 600
# What pytest ends with; anything else (an import that fails, an unknown test) is no catch but a mistake in the list.
OUTCOMES = {0: "survived", 1: "caught"}


class Outcome(NamedTuple):
    """What became of one fault."""

    fault: Fault
    outcome: str
    seconds: float
    output: str


def changed(fault: Fault, root: Path = ROOT) -> str:
    """The text of the fault's file with the fault in it; raises ValueError unless the old text occurs once."""
    text = (root / fault.file).read_text()
    if (count := text.count(fault.old)) != 1:
        raise ValueError(f"Expected the old text of {fault.name} once in {fault.file}; it occurs {count} times.")
    return text.replace(fault.old, fault.new)


def run_tests(folder: Path, tests: tuple[str, ...], *options: str) -> tuple[int, str]:
    """The exit status and output of pytest on some tests of a copy."""
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", *options, *tests]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return -1, f"No end within {TIMEOUT_S} seconds."
    return done.returncode, done.stdout + done.stderr


def try_fault(folder: Path, fault: Fault) -> Outcome:
    """Injects one fault into a copy, runs its tests, and takes it out again."""
    path, began = folder / fault.file, time.perf_counter()
    right = path.read_text()
    path.write_text(changed(fault, folder))
    try:
        status, output = run_tests(folder, fault.tests, "-x")
    finally:
        path.write_text(right)
    return Outcome(fault, OUTCOMES.get(status, "broken"), time.perf_counter() - began, output)


def try_all(copies: list[Path], faults: list[Fault]) -> Iterator[Outcome]:
    """Tries the faults in order, as many at a time as there are copies."""
    free: SimpleQueue[Path] = SimpleQueue()
    for copy in copies:
        free.put(copy)

    def one(fault: Fault) -> Outcome:
        copy = free.get()
        try:
            return try_fault(copy, fault)
        finally:
            free.put(copy)

    with ThreadPoolExecutor(len(copies)) as pool:
        yield from pool.map(one, faults)


def share_compiled_programs(scratch: Path) -> None:
    """Names a folder for compiled programs, which all runs share, unless the environment names one."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(scratch / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def chosen_faults(names: list[str] | None) -> list[Fault]:
    """The faults of these names, or all; ends the program where there is none of a name."""
    if not names:
        return FAULTS
    by_name = {fault.name: fault for fault in FAULTS}
    if unknown := [name for name in names if name not in by_name]:
        sys.exit(f"Expected names that --list shows; got {', '.join(unknown)}.")
    return [by_name[name] for name in names]


def report(outcomes: Iterator[Outcome]) -> tuple[int, int]:
    """Prints a line for each fault as it is done: how many were caught, of how many."""
    num_caught = num_faults = 0
    for fault, outcome, seconds, output in outcomes:
        num_faults += 1
        num_caught += outcome == "caught"
        print(f"{outcome:8}  {seconds:5.1f} s  {fault.name}", flush=True)
        if outcome == "broken":
            print(output[-2000:], flush=True)
    return num_caught, num_faults


def main() -> None:
    """Runs the program; exit status 1 below 97 %, or where tests fail without any fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="try these faults only")
    parser.add_argument("--list", action="store_true", help="show the names of the faults, and try none")
    parser.add_argument("--jobs", type=int, default=1, help="how many faults are tried at a time (default: 1)")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the tests without faults first")
    arguments = parser.parse_args()
    faults = chosen_faults(arguments.only)
    if arguments.list:
        print("\n".join(f"{fault.name}  {fault.file}" for fault in faults))
        return
    with tempfile.TemporaryDirectory(prefix="vaepriors_jax-faults-") as scratch:
        share_compiled_programs(Path(scratch))
        copies = [Path(scratch) / str(i) for i in range(max(1, arguments.jobs))]
        for copy in copies:
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "images", "output"))
        if not arguments.no_baseline:
            status, output = run_tests(copies[0], tuple(dict.fromkeys(test for f in faults for test in f.tests)))
            if status:
                sys.exit(f"The tests fail without any fault:\n{output[-4000:]}")
        num_caught, num_faults = report(try_all(copies, faults))
    print(f"{num_caught} of {num_faults} faults were caught ({num_caught / num_faults:.1%}; {LEAST_SCORE:.0%} needed).")
    sys.exit(num_caught < LEAST_SCORE * num_faults)


if __name__ == "__main__":
    main()
