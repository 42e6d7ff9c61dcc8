"""Files of models that are damaged or crafted are refused, and nothing in them is executed."""

import contextlib
import hashlib
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

import vaepriors_jax as vp
from tests.support.first_format import save_in_first_format
from tests.support.saving import UNREADABLE, small_model
from vaepriors_jax.training.saved_archive import read_archive, write_archive


def write_changed(folder, change):
    """Writes the small model with another description, and the SHA-256 of what is written."""
    vp.save_model(folder, *small_model())
    description, arrays = read_archive(folder / "model.npz")
    write_archive(folder / "model.npz", change(description), arrays)


def test_every_flipped_bit_is_noticed(tmp_path):
    vp.save_model(tmp_path, *small_model())
    file = tmp_path / "model.npz"
    content, random = file.read_bytes(), np.random.default_rng(0)
    size = 8 * len(content)
    ends = [0, size - 1, size - 8 * 64, size - 8 * 64 - 1]
    for bit in [*ends, *random.choice(size, 196, replace=False)]:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{UNREADABLE}.*model.npz is damaged"):
            vp.load_model(tmp_path)


def test_a_cut_file_is_noticed(tmp_path):
    vp.save_model(tmp_path, *small_model())
    file = tmp_path / "model.npz"
    content = file.read_bytes()
    for size in [0, 1, 63, 64, 65, len(content) // 2, len(content) - 1]:
        file.write_bytes(content[:size])
        with pytest.raises(ValueError, match="model.npz is damaged"):
            vp.load_model(tmp_path)
    file.write_bytes(content + b"0")
    with pytest.raises(ValueError, match="model.npz is damaged"):
        vp.load_model(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=f"{UNREADABLE}.*holds no model.npz"):
        vp.load_model(tmp_path / "nothing")


def replaced(**entries):
    return lambda description: description | entries


def in_params(**entries):
    return lambda description: description | {"params": description["params"] | entries}


ARRAY = {"array": "float32", "shape": [3, 2]}
DEEP: list = []
for _ in range(900):  # JSON reads it, and recursion over it may fail
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "change",
    [
        replaced(format=3),
        replaced(format=None),
        replaced(params=None),
        replaced(params=[]),
        replaced(prior=3),
        replaced(prior={"factory": "nothing"}),
        replaced(prior={"factory": ["mixture"]}),
        replaced(prior={"factory": "mixture", "dim": 2, "components": 3}),
        replaced(prior={"factory": "mixture", "dim": 2, "num_components": 10**30}),
        replaced(prior={"factory": "transformed", "base": {"factory": "standard_normal", "dim": 2}, "flow": None}),
        replaced(prior={"factory": "mixture", "dim": DEEP}),
        in_params(leaves=None),
        in_params(leaves=[ARRAY]),
        in_params(leaves=[ARRAY] * 100),
        in_params(leaves=[{"array": "object", "shape": [1]}] * 7),
        in_params(leaves=[{"array": "float32", "shape": [10**12]}] * 7),
        in_params(leaves=[{"array": "float32", "shape": [-1, 0]}] * 7),
        in_params(leaves=[{"number": []}] * 7),
        in_params(tree=None),
        in_params(tree=["set", []]),
        in_params(tree=[]),
        in_params(tree=["tuple"]),
        in_params(tree=["tuple", [0, 1, 100]]),
        in_params(tree=["dict", [[[], 0]]]),
        in_params(tree=DEEP),
        lambda description: [description],
        lambda description: {"format": 2},
    ],
)
def test_an_odd_description_is_refused(tmp_path, change):
    write_changed(tmp_path, change)
    with pytest.raises(ValueError, match="^Expected"):
        vp.load_model(tmp_path)


@pytest.mark.parametrize(
    "text", ["[" * 10_000 + "]" * 10_000, "NaN", "3", "null", '"text"', "{", "", '{"format": NaN}']
)
def test_odd_json_is_refused(tmp_path, text):
    prior, params = small_model()
    save_in_first_format(tmp_path / "first", prior, params)
    (tmp_path / "first" / "prior.json").write_text(text)
    with pytest.raises(ValueError, match=UNREADABLE):
        vp.load_model(tmp_path / "first")
    vp.save_model(tmp_path, prior, params)
    rewrite(tmp_path / "model.npz", {"model.json": text.encode()})
    with pytest.raises(ValueError, match=UNREADABLE):
        vp.load_model(tmp_path)


def rewrite(file, changes, compression=zipfile.ZIP_STORED):
    """Writes an archive with other members, and the SHA-256 of what is written."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in (members | changes).items():
            archive.writestr(name, content)
        archive.comment = b"0" * 64
    content = file.read_bytes()[:-64]
    file.write_bytes(content + hashlib.sha256(content).hexdigest().encode())


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vp.save_model(tmp_path, *small_model())
    crafted = io.BytesIO()
    np.lib.format.write_array(crafted, np.array([Harmful()] * 6, object))
    rewrite(tmp_path / "model.npz", {"0.npy": crafted.getvalue(), "1.npy": pickle.dumps(Harmful())})
    with contextlib.suppress(ValueError):
        vp.load_model(tmp_path)
    assert os.listdir(tmp_path) == ["model.npz"]


def test_a_compressed_file_is_refused_before_it_is_unpacked(tmp_path):
    vp.save_model(tmp_path, *small_model())
    rewrite(tmp_path / "model.npz", {"0.npy": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="model.npz is compressed"):
        vp.load_model(tmp_path)
