"""Flows that start from data, and the linear layer against numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from vaepriors_jax.priors.init_from_data import required_data

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(500, 3)) @ RNG.normal(size=(3, 3)) + [5.0, -2.0, 0.3]
MEAN, SCALE = Z.mean(0), Z.std(0)
SWAP = vp.permute(3, (1, 2, 0))


def shapes(tree):
    return jax.tree.map(jnp.shape, tree)


def test_act_norm_standardises():
    params = vp.act_norm(3).init_from_data(KEY, z=Z)
    u, log_det = vp.act_norm(3).apply(params).inverse_and_log_det(Z)
    np.testing.assert_allclose(u.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(u.std(0), 1, rtol=1e-5)
    np.testing.assert_allclose(log_det, -np.log(SCALE).sum(), rtol=1e-5)


@pytest.mark.parametrize(("flow", "entry", "order"), [((SWAP, vp.act_norm(3)), "1", [0, 1, 2]),
                                                      ((vp.act_norm(3), SWAP), "0", [2, 0, 1])])  # fmt: skip
def test_chain_starts_each_flow_from_what_those_behind_it_give(flow, entry, order):
    params = vp.chain(*flow).init_from_data(KEY, z=Z)
    np.testing.assert_allclose(params[entry]["loc"], MEAN[order], rtol=1e-5)
    np.testing.assert_allclose(params[entry]["log_scale"], np.log(SCALE)[order], rtol=1e-4, atol=1e-5)


def test_repeat_starts_its_last_layer_first():
    flow = vp.repeat(vp.chain(vp.lu_linear(3), vp.act_norm(3), SWAP), 2)
    params = flow.init_from_data(KEY, z=Z)
    assert shapes(params) == shapes(flow.init(KEY))
    np.testing.assert_allclose(params["1"]["loc"], [np.zeros(3), MEAN[[2, 0, 1]]], atol=1e-4)
    np.testing.assert_allclose(params["1"]["log_scale"][0], 0, atol=1e-4)


def test_a_base_prior_starts_from_what_the_flow_gives():
    labels = np.arange(len(Z)) % 2
    step = vp.chain(vp.affine_coupling(3, hidden=(4,), num_classes=2), vp.act_norm(3))
    prior = vp.transformed(vp.mixture(3, 1), step)
    params = vp.init_from_data(prior, KEY, z=Z, y=labels)
    assert shapes(params) == shapes(prior.init(KEY))
    np.testing.assert_allclose(params["base"]["loc"], 0, atol=1e-5)
    np.testing.assert_allclose(params["base"]["log_scale"], 0, atol=2e-3)
    np.testing.assert_allclose(params["flow"]["1"]["loc"], MEAN, rtol=1e-5)


def test_what_a_start_reads():
    normalised = vp.transformed(vp.standard_normal(3), vp.act_norm(3))
    assert required_data(normalised) == ["z"]
    assert vp.init_from_data(normalised, KEY, z=Z)["base"] == {}
    assert required_data(vp.transformed(vp.vamp(2, (6,)), vp.act_norm(3))) == ["z", "x"]
    for flow in (vp.affine_coupling(3), vp.repeat(vp.lu_linear(3), 2), vp.chain(SWAP), vp.invert(vp.act_norm(3))):
        assert vp.transformed(vp.standard_normal(3), flow).init_from_data is None
    with pytest.raises(ValueError, match=r"`z` of shape \[N, 3\]; got \(5, 2\)"):
        vp.init_from_data(normalised, KEY, z=np.zeros((5, 2)))


def test_lu_linear_is_the_product_of_its_factors():
    lu = RNG.normal(size=(3, 3)) / 2
    lower, upper = np.tril(lu, -1) + np.eye(3), np.triu(lu, 1) + np.diag(np.exp(np.diag(lu)))
    bijector = vp.lu_linear(3).apply({"lu": jnp.asarray(lu, jnp.float32)})
    z, log_det = bijector.forward_and_log_det(Z)
    np.testing.assert_allclose(z, Z @ (lower @ upper).T, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(lower @ upper)[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bijector.inverse(z), Z, rtol=1e-4, atol=1e-4)
