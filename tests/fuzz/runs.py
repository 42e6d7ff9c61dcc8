"""Output folders of compare_priors with a changed results.json or a damaged file, given to `evaluate`."""

import json
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints
from unittest import mock

import numpy as np

from experiments import evaluate, measures
from experiments.options.checks import RANGES, RATES
from experiments.options.config import Config
from experiments.options.stored import has_type
from tests.fuzz.case import Case, stop
from tests.fuzz.odd import VALUES, choose, damaged, places, replaced
from tests.support.saved_run import write_run


@cache
def written() -> tuple[tempfile.TemporaryDirectory, dict[str, Any]]:
    folder = tempfile.TemporaryDirectory(prefix="vaepriors_jax-fuzz-run-")
    write_run(Path(folder.name))
    return folder, json.loads((Path(folder.name) / "results.json").read_text())


def is_nonsense(path: tuple[Any, ...], new: Any) -> bool:
    """Whether a value of a configuration is of another type, or a number out of range."""
    if len(path) != 2 or path[0] != "config":
        return False
    name = path[1]
    if not has_type(new, get_type_hints(Config)[name]):
        return True
    numbers = [value for value in (new if isinstance(new, list) else [new]) if isinstance(value, (int, float))]
    least, most = RANGES.get(name, (float("-inf"), float("inf")))
    in_range = all(least <= number <= most for number in numbers)
    return not in_range or (name in RATES and not all(0 < number < 1e38 for number in numbers))


def make(rng: np.random.Generator, folder: Path) -> Case:
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
