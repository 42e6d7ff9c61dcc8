"""Folders of checkpoints with a damaged, emptied or missing file, from which `fit` is to go on."""

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp
from tests.fuzz.arrays import KEY, WIDTH, N, decode, encode
from tests.fuzz.case import Case
from tests.fuzz.odd import choose, damaged

VAE, OPTIMIZER = vp.VAE(encode, decode, vp.standard_normal(2)), optax.adam(1e-2)


def fit(folder: Path, num_epochs: int) -> Any:
    params = vp.VAEParams(jnp.ones((2, WIDTH)), jnp.ones((WIDTH, 2)), {})
    data = {"x": np.arange(N * WIDTH).reshape(N, WIDTH) % 2}
    options = {"batch_size": 10, "progress": False, "checkpoints": str(folder)}
    return vp.fit(VAE, params, KEY, data, OPTIMIZER, num_epochs=num_epochs, **options)


@cache
def written() -> tuple[tempfile.TemporaryDirectory, Any]:
    """A run of two epochs with its checkpoint, and the parameters after a third."""
    folder = tempfile.TemporaryDirectory(prefix="vaepriors_jax-fuzz-checkpoints-")
    fit(Path(folder.name) / "run", 2)
    shutil.copytree(Path(folder.name) / "run", Path(folder.name) / "other")
    return folder, fit(Path(folder.name) / "other", 3).params


def make(rng: np.random.Generator, folder: Path) -> Case:
    source, expected = written()
    shutil.copytree(Path(source.name) / "run", folder / "run")
    file = choose(rng, sorted(path for path in (folder / "run").rglob("*") if path.is_file()))
    text = f"{file.relative_to(folder)} is damaged"
    if rng.random() < 0.2:
        file.unlink()
    else:
        file.write_bytes(damaged(rng, file.read_bytes()))

    def go_on() -> None:
        params = fit(folder / "run", 3).params
        same = jax.tree.map(lambda one, other: bool(jnp.array_equal(one, other)), params, expected)
        assert all(jax.tree.leaves(same)), "it went on from something else"

    return Case(go_on, False, text)
