"""Output folders with something changed or damaged: a finished one for `evaluate`, an interrupted one to resume."""

import contextlib
import json
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints
from unittest import mock

import numpy as np

from experiments import evaluate, measures
from experiments.comparison.compare import compare
from experiments.options import command_line
from experiments.options.checks import RANGES, RATES
from experiments.options.config import Config
from experiments.options.stored import has_type
from tests.fuzz.case import Case, ReachedError, stop
from tests.fuzz.command_lines import without_training
from tests.fuzz.odd import VALUES, choose, damaged, places, replaced
from tests.support.saved_run import OPTIONS, write_run


@cache
def interrupted() -> tuple[tempfile.TemporaryDirectory, dict[str, Any]]:
    """A run of compare_priors that ended where training would start, and its run.json."""
    folder = tempfile.TemporaryDirectory(prefix="vaepriors_jax-fuzz-run-")
    with contextlib.suppress(ReachedError), without_training():
        compare(Config(**OPTIONS, output_dir=folder.name))
    return folder, json.loads((Path(folder.name) / "run.json").read_text())


@cache
def written() -> tuple[tempfile.TemporaryDirectory, dict[str, Any]]:
    folder = tempfile.TemporaryDirectory(prefix="vaepriors_jax-fuzz-run-")
    write_run(Path(folder.name))
    return folder, json.loads((Path(folder.name) / "results.json").read_text())


def is_nonsense(path: tuple[Any, ...], new: Any) -> bool:
    """Whether a value of a configuration is of another type, or a number out of range."""
    if len(path) != 2 or path[0] not in ("config", "options"):
        return False
    name = path[1]
    if not has_type(new, get_type_hints(Config)[name]):
        return True
    numbers = [value for value in (new if isinstance(new, list) else [new]) if isinstance(value, (int, float))]
    least, most = RANGES.get(name, (float("-inf"), float("inf")))
    in_range = all(least <= number <= most for number in numbers)
    return not in_range or (name in RATES and not all(0 < number < 1e38 for number in numbers))


def make_interrupted(rng: np.random.Generator, folder: Path) -> Case:
    """A run to go on with, whose run.json was changed or damaged."""
    source, content = interrupted()
    shutil.copytree(source.name, folder / "run")
    file = folder / "run" / "run.json"
    if rng.random() < 0.7:
        path, new = choose(rng, list(places(content))), choose(rng, VALUES)
        nonsense, text = is_nonsense(path, new), f"run.json: {path} is {new!r}"
        file.write_text(json.dumps(replaced(content, path, new)))
    else:
        nonsense, text = False, "run.json is damaged"
        file.write_bytes(damaged(rng, file.read_bytes()))

    def resume() -> None:
        with (
            contextlib.chdir(folder),
            mock.patch.object(sys, "argv", ["compare_priors", "--resume", str(folder / "run")]),
            without_training(),
        ):
            command_line.run(compare, Config)

    return Case(resume, nonsense, text)


def make(rng: np.random.Generator, folder: Path) -> Case:
    if rng.random() < 0.5:
        return make_interrupted(rng, folder)
    source, content = written()
    shutil.copytree(source.name, folder / "run")
    nonsense, run = False, folder / "run"
    if rng.random() < 0.7:
        path, new = choose(rng, list(places(content))), choose(rng, VALUES)
        (run / "results.json").write_text(json.dumps(replaced(content, path, new)))
        nonsense, text = is_nonsense(path, new), f"results.json: {path} is {new!r}"
    else:
        file = choose(rng, sorted(path for path in run.rglob("*") if path.is_file()))
        before = file.read_bytes()
        file.write_bytes(damaged(rng, before))
        text = f"{file.relative_to(run)} is damaged"
        nonsense = file.name == "model.npz" and file.read_bytes() != before

    def measure() -> None:
        with (
            mock.patch.object(measures, "make_sample_scorer", return_value=None),
            mock.patch.object(measures, "measure", stop),
        ):
            evaluate.main(evaluate.Options(run))

    return Case(measure, nonsense, text)
