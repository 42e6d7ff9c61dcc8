"""Interrupted runs in whose folder something that was kept, a trained model or a measurement, is damaged or missing."""

import contextlib
import hashlib
import json
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np

import vaepriors_jax as vp
from experiments import measures
from experiments.comparison import compare
from experiments.data.dataset import load
from experiments.models.trained import Trained
from experiments.models.vaes import make_vae
from experiments.options import command_line
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.runs.files import MEASURED, TRAINED, keep
from experiments.training import kept
from tests.fuzz.case import Case, ReachedError, stop
from tests.fuzz.odd import VALUES, choose, damaged, places, replaced
from tests.support.saved_run import OPTIONS


@contextlib.contextmanager
def without_work():
    """Ends the comparison where it would train or measure."""
    with (
        mock.patch.object(vp, "fit", stop),
        mock.patch.object(measures, "measure", stop),
        mock.patch.object(measures, "make_sample_scorer", return_value=None),
        mock.patch.object(compare, "draw", return_value=[]),
        mock.patch.object(command_line, "keep_compiled"),
    ):
        yield


@cache
def interrupted() -> tempfile.TemporaryDirectory:
    """A run that has trained both priors, and measured the first of them."""
    folder = tempfile.TemporaryDirectory(prefix="vaepriors_jax-fuzz-run-")
    path, options, data = Path(folder.name), Config(**OPTIONS, output_dir=folder.name), load("digits")
    sizes = resolve(options, data).sizes
    with contextlib.suppress(ReachedError), without_work():
        compare.compare(options)
    for name in OPTIONS["priors"]:
        vae, init = make_vae(name, sizes, data)
        params = jax.tree.map(lambda leaf: leaf[None], init(jax.random.key(0)))
        history = {"elbo": np.full((1, 3), -30.0), "validation_elbo": np.full((1, 3), -31.0)}
        state: Any = None
        result = vp.FitResult(params, state, np.array([3]), history, (), 0.1, 1.0)
        kept.write(Trained(name, vae, result, (0,)), path)
    keep(path / MEASURED / "standard-seed0.json", lambda: {"test": {"elbo": -30.0}})
    return folder


def forged(rng: np.random.Generator, content: bytes) -> tuple[bytes, str]:
    """A step with one value changed, or another one as a whole, and the checksum of that."""
    step = json.loads(content)["content"]
    path, new = choose(rng, [(), *places(step)]), choose(rng, VALUES)
    changed = replaced(step, path, new)
    digest = hashlib.sha256(json.dumps(changed).encode()).hexdigest()
    return json.dumps({"sha256": digest, "content": changed}).encode(), f"{path} is {new!r}"


def make(rng: np.random.Generator, folder: Path) -> Case:
    run = folder / "run"
    shutil.copytree(interrupted().name, run)
    steps = sorted(path for name in (TRAINED, MEASURED) for path in (run / name).iterdir())
    file = choose(rng, [*steps, *sorted(run.glob("models/*/*"))])
    before, permitted, nonsense, kind = file.read_bytes(), True, False, int(rng.integers(8))
    text = f"{file.relative_to(run)} is damaged"
    if kind == 0:
        file.unlink()
        text, nonsense = f"{file.relative_to(run)} is missing", file not in steps
    elif kind == 1:
        file.unlink()
        file.mkdir()
        text, nonsense = f"{file.relative_to(run)} is a folder", True
    elif kind == 2 and file in steps:
        permitted, nonsense, text = False, True, f"{file.relative_to(run)} must not be read"
    elif kind == 3 and file.parent.name == TRAINED:
        content, changed = forged(rng, before)
        file.write_bytes(content)
        text = f"{file.relative_to(run)}: {changed}"
    else:
        file.write_bytes(damaged(rng, before))
        nonsense = file.read_bytes() != before

    def read_text(path: Path, encoding: str | None = None) -> str:
        if path == file:
            raise PermissionError(13, "Permission denied", str(path))
        return path.read_bytes().decode(encoding or "utf-8")

    def resume() -> None:
        reader = contextlib.nullcontext() if permitted else mock.patch.object(Path, "read_text", read_text)
        with (
            contextlib.chdir(folder),
            mock.patch.object(sys, "argv", ["compare_priors", "--resume", str(run)]),
            without_work(),
            reader,
        ):
            command_line.run(compare.compare, Config)

    return Case(resume, nonsense, text)
