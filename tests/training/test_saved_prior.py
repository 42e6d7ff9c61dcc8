"""A saved model comes back with its own prior alone."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from tests.support.bernoulli_vae import stacked
from tests.support.saving import assert_same, small_model


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (vp.mixture(2, 5), r"'loc' the model holds floating-point numbers \[3, 2\], and .* numbers \[5, 2\]"),
        (vp.mixture(3, 3), r"'loc' the model holds floating-point numbers \[3, 2\], and .* numbers \[3, 3\]"),
        (vp.standard_normal(2), "'loc' the model holds floating-point numbers .* makes nothing"),
        (vp.transformed(vp.mixture(2, 3), vp.permute(2)), "'base.loc' the model holds nothing"),
    ],
)
def test_another_prior_is_refused(tmp_path, prior, message):
    vp.save_model(tmp_path, *small_model())
    with pytest.raises(ValueError, match=message):
        vp.load_model(tmp_path, prior)


@pytest.mark.parametrize("prior", [0, 3, vp.standard_normal, {"factory": "standard_normal", "dim": 2}])
def test_what_is_no_prior_is_refused(tmp_path, prior):
    vp.save_model(tmp_path / "model", *small_model())
    with pytest.raises(TypeError, match="Expected a prior"):
        vp.load_model(tmp_path / "model", prior)
    with pytest.raises(TypeError, match="Expected a prior"):
        vp.save_model(tmp_path / "other", prior, small_model()[1])
    assert os.listdir(tmp_path) == ["model"]


def test_integers_for_floating_point_numbers_are_refused(tmp_path):
    prior, params = small_model()
    whole = params._replace(prior=jax.tree.map(lambda leaf: leaf.astype(jnp.int32), params.prior))
    vp.save_model(tmp_path, prior, whole)
    with pytest.raises(ValueError, match="holds integers"):
        vp.load_model(tmp_path)


def test_replicas_and_another_precision_are_accepted(tmp_path):
    prior, params = small_model()
    for changed in (stacked(params, 4), jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)):
        vp.save_model(tmp_path, prior, changed)
        assert_same(vp.load_model(tmp_path)[1], changed)
    vp.save_model(tmp_path, prior, params._replace(prior=stacked(params.prior, 4)))
    with pytest.raises(ValueError, match=r"numbers \[4, 3, 2\]"):
        vp.load_model(tmp_path)


def test_a_prior_with_an_array_of_the_users_is_passed_again(tmp_path):
    prior = vp.from_distribution(vp.normal_diag(jnp.zeros(2), jnp.ones(2)))
    params = vp.VAEParams({"weight": jnp.ones(2)}, {}, prior.init(jax.random.key(0)))
    vp.save_model(tmp_path, prior, params)
    with pytest.raises(ValueError, match="holds a function, an array or a number that .* not saved. Pass `prior=`"):
        vp.load_model(tmp_path)
    loaded, found = vp.load_model(tmp_path, prior)
    assert loaded is prior
    assert_same(found, params)


def test_a_prior_with_an_infinite_number_is_passed_again(tmp_path):
    prior = vp.standard_normal(2)
    prior = prior._replace(config=prior.config | {"limit": float("inf")})
    vp.save_model(tmp_path, prior, vp.VAEParams({}, {}, {}))
    with pytest.raises(ValueError, match="number that is not finite"):
        vp.load_model(tmp_path)
    assert vp.load_model(tmp_path, prior)[0] is prior


def test_an_init_that_computes_with_numpy_is_compared_too(tmp_path):
    def init(key):
        return {"loc": np.asarray(jax.random.normal(key, (2,)))}

    prior = vp.standard_normal(2)._replace(init=init)
    vp.save_model(tmp_path, prior, vp.VAEParams({}, {}, {"loc": jnp.ones(2)}))
    assert_same(vp.load_model(tmp_path, prior)[1].prior, {"loc": jnp.ones(2)})
    with pytest.raises(ValueError, match="'loc' the model holds .* makes nothing"):
        vp.load_model(tmp_path)
