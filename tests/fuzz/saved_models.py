"""Saved models: damaged files, and descriptions that somebody changed together with the checksum."""

import hashlib
import io
import json
import zipfile
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from tests.fuzz.case import Case
from tests.fuzz.odd import VALUES, choose, damaged, places, replaced
from vaepriors_jax.training.saved_archive import DESCRIPTION, DIGEST
from vaepriors_jax.training.saved_model import FILE


@cache
def saved() -> bytes:
    """A small model as `save_model` writes it."""
    import tempfile

    prior = vp.transformed(vp.mixture(2, 3), vp.affine_coupling(2, hidden=(4,)))
    networks = {"weight": jnp.ones((2, 6)), "scales": (jnp.ones(3), 0.5), "none": None}
    with tempfile.TemporaryDirectory() as folder:
        vp.save_model(folder, prior, vp.VAEParams(networks, networks, prior.init(jax.random.key(0))))
        return (Path(folder) / FILE).read_bytes()


def changed(rng: np.random.Generator) -> tuple[bytes, str]:
    """The model with one value of its description changed, and the checksum of that."""
    with zipfile.ZipFile(io.BytesIO(saved())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    description = json.loads(members[DESCRIPTION])
    path, new = choose(rng, list(places(description))), choose(rng, VALUES)
    members[DESCRIPTION] = json.dumps(replaced(description, path, new)).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = b"0" * DIGEST
    content = file.getvalue()[:-DIGEST]
    return content + hashlib.sha256(content).hexdigest().encode(), f"{path} is {new!r}"


def make(rng: np.random.Generator, folder: Path) -> Case:
    nonsense = bool(rng.random() < 0.5)
    content, text = (damaged(rng, saved()), "damaged") if nonsense else changed(rng)
    (folder / FILE).write_bytes(content)

    def load() -> None:
        prior, params = vp.load_model(folder)
        assert jax.tree.map(jnp.shape, params.prior) == jax.tree.map(jnp.shape, prior.init(jax.random.key(0)))

    return Case(load, nonsense and content != saved(), text)
