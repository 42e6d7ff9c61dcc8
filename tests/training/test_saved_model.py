"""Saved models: the file, and models of the first format."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data, exploding
from tests.support.first_format import save_in_first_format
from tests.support.saving import UNREADABLE, assert_same, other_model, small_model


def test_save_and_load(tmp_path):
    prior, params = small_model()
    vp.save_model(tmp_path / "model", prior, params)
    loaded_prior, loaded = vp.load_model(tmp_path / "model")
    assert loaded_prior == prior
    assert_same(loaded, params)
    assert os.listdir(tmp_path / "model") == ["model.npz"]


def test_the_file_is_as_documented(tmp_path):
    prior, params = small_model()
    vp.save_model(tmp_path, prior, params)
    with np.load(tmp_path / "model.npz", allow_pickle=False) as archive:
        description = json.loads(archive["model.json"])
        arrays = [archive[str(i)] for i in range(len(description["params"]["leaves"]))]
    assert_same(arrays, jax.tree.leaves(tuple(params)))
    assert description["format"] == 2
    assert description["vaepriors_jax"] == vp.__version__
    assert description["prior"] == vp.plain_config(prior)
    again = tmp_path / "again"
    vp.save_model(again, prior, params)
    assert (again / "model.npz").read_bytes() == (tmp_path / "model.npz").read_bytes()


def test_a_model_carries_the_fingerprint_of_its_run(tmp_path):
    vae, params = bernoulli_vae()
    key, data = jax.random.key(0), binary_data()
    options = {"num_epochs": 1, "batch_size": 50, "progress": False, "checkpoints": tmp_path / "run"}
    # Its updates are not finite, nor are the values that tell it from other optimisers.
    never = exploding(at_step=1000)(jnp.float32(1))
    result = vp.fit(vae, params, key, data, never, **options)
    assert None in result.fingerprint["values"]["optimizer at step 1000"]
    vp.save_model(tmp_path, vae.prior, result.params, fingerprint=result.fingerprint)
    assert vp.load_fingerprint(tmp_path) == result.fingerprint
    assert vp.load_model(tmp_path)[0] == vae.prior
    vp.save_model(tmp_path, vae.prior, result.params)
    assert vp.load_fingerprint(tmp_path) is None
    with pytest.raises(ValueError, match="it cannot be read"):
        vp.load_fingerprint(tmp_path / "none")


def test_other_files_of_the_folder_stay(tmp_path):
    names = ["params/notes.txt", "prior.json", "model.npz.partial", "model.npz.mine.partial", "other.npz"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    for save in (small_model, other_model):
        vp.save_model(tmp_path, *save())
    assert_same(vp.load_model(tmp_path)[1], other_model()[1])
    assert all((tmp_path / name).read_text() == "mine" for name in names)


@pytest.mark.parametrize("describe", [True, False])
def test_models_of_the_first_format_are_read_and_replaced(tmp_path, describe):
    prior, params = small_model()
    save_in_first_format(tmp_path, prior, params, describe=describe)
    loaded_prior, loaded = vp.load_model(tmp_path)
    assert loaded_prior == prior
    assert_same(loaded, params)
    with pytest.raises(ValueError, match="for 'loc'"):
        vp.load_model(tmp_path, vp.mixture(2, 5))
    vp.save_model(tmp_path, *other_model())
    assert_same(vp.load_model(tmp_path)[1], other_model()[1])


def test_the_first_format_keeps_numbers_and_arrays_without_elements(tmp_path):
    encoder = {"none": jnp.zeros((0, 3)), "scale": 0.5, "pair": (jnp.ones(2), jnp.zeros(0))}
    for name, params in (("some", vp.VAEParams(encoder, {}, {})), ("all", vp.VAEParams(jnp.zeros(0), {}, {}))):
        save_in_first_format(tmp_path / name, vp.standard_normal(2), params)
        assert_same(vp.load_model(tmp_path / name)[1], params)


def test_the_first_format_without_its_arrays_is_refused(tmp_path):
    prior, params = small_model()
    save_in_first_format(tmp_path, prior, params)
    (tmp_path / "params").rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=UNREADABLE):
        vp.load_model(tmp_path)
