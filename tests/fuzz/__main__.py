"""python -m tests.fuzz --cases 2000

python -m tests.fuzz --kind npz_files --case 17   (one case again)
"""

import argparse
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.fuzz import arrays, checkpoints, command_lines, configurations, kept_files, npz_files, runs, saved_models
from tests.fuzz.case import Case, Outcome, try_case

# Each makes a case from random numbers and an empty folder; and how many of a hundred cases are of the kind.
KINDS: dict[str, tuple[Callable[[np.random.Generator, Path], Case], int]] = {
    "command_lines": (command_lines.make, 25),
    "npz_files": (npz_files.make, 15),
    "arrays": (arrays.make, 20),
    "configurations": (configurations.make, 22),
    "saved_models": (saved_models.make, 7),
    "runs": (runs.make, 5),
    "kept_files": (kept_files.make, 5),
    "checkpoints": (checkpoints.make, 1),
}


class Tried(NamedTuple):
    """How many cases of a kind were tried and accepted, and a report on each that failed."""

    kind: str
    number: int
    accepted: int
    failures: list[str]


def run_case(kind: str, number: int, seed: int) -> Outcome:
    """Makes one case and runs it; what is wrong comes with the command that repeats it."""
    rng = np.random.default_rng([seed, zlib.crc32(kind.encode()), number])
    with tempfile.TemporaryDirectory(prefix="vaepriors_jax-fuzz-") as folder:
        case = KINDS[kind][0](rng, Path(folder))
        outcome = try_case(case)
    if outcome.wrong is None:
        return outcome
    command = f"python -m tests.fuzz --kind {kind} --case {number} --seed {seed}"
    return outcome._replace(wrong=f"{case.text[:1000]}\n{outcome.wrong}\nAgain: {command}\n")


def run_cases(num_cases: int, seed: int = 0, kinds: Iterable[str] = tuple(KINDS)) -> list[Tried]:
    """Runs cases of these kinds."""
    total = sum(KINDS[kind][1] for kind in kinds)
    tried = []
    for kind in kinds:
        began = time.perf_counter()
        outcomes = [run_case(kind, number, seed) for number in range(-(-num_cases * KINDS[kind][1] // total))]
        failures = [outcome.wrong for outcome in outcomes if outcome.wrong]
        accepted, seconds = sum(outcome.accepted for outcome in outcomes), time.perf_counter() - began
        tried.append(Tried(kind, len(outcomes), accepted, failures))
        print(
            f"{kind}: {len(outcomes)} cases, {accepted} accepted, {len(failures)} failed, {seconds:.0f} s", flush=True
        )
    return tried


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200, help="how many, over all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, help="only this kind")
    parser.add_argument("--case", type=int, help="only this case of the kind")
    options = parser.parse_args()
    if options.case is not None:
        outcome = run_case(options.kind or parser.error("--case needs --kind"), options.case, options.seed)
        sys.exit(outcome.wrong)
    tried = run_cases(options.cases, options.seed, [options.kind] if options.kind else tuple(KINDS))
    sys.exit("\n".join(wrong for kind in tried for wrong in kind.failures))


if __name__ == "__main__":
    main()
