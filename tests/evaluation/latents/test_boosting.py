"""Boosting of a VampPrior: components find the parts of q(z), and weights maximise the likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import vaepriors_jax as vp
from vaepriors_jax.evaluation.latents.boosting import refit_weights

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
# Three clusters of encodings, of 50, 30 and 20 %.
CENTRES, SHARES = np.array([[-4.0, 0.0], [4.0, 0.0], [0.0, 5.0]]), np.array([0.5, 0.3, 0.2])
X = np.float32(CENTRES.repeat(np.int32(400 * SHARES), axis=0) + 0.2 * RNG.normal(size=(400, 2)))
PRIOR = vp.vamp(6, (2,), weights="learned", bounds=(-8.0, 8.0))


def identity_vae(scale=0.5):
    def encode(params, x):
        return vp.normal_diag(x, jnp.full(2, scale))

    return vp.VAE(encode, lambda params, z: vp.normal_diag(z, jnp.ones(2)), vp.standard_normal(2))


def test_components_cover_the_encodings_with_the_shares_of_the_clusters():
    vae, params = identity_vae(), vp.VAEParams({}, {}, {})
    fitted = vp.boost_prior(PRIOR, vae, params, KEY, X, num_steps=40, num_references=300, learning_rate=0.03)
    q = vp.aggregated_posterior(vae, params, X)
    z = q.sample(seed=jax.random.key(1), sample_shape=2000)
    p = vae._replace(prior=PRIOR).latent_prior(fitted)
    assert np.mean(q.log_prob(z) - p.log_prob(z)) < 0.2

    samples = np.asarray(p.sample(seed=KEY, sample_shape=4000))
    nearest = np.linalg.norm(samples[:, None] - CENTRES, axis=-1).argmin(axis=1)
    np.testing.assert_allclose(np.bincount(nearest) / 4000, SHARES, atol=0.08)
    assert np.exp(fitted.prior["logits"]).sum() == pytest.approx(1, abs=1e-5)


def test_one_component_is_the_best_of_all():
    """A posterior of fixed width has the most density on average at the mean of the encodings."""
    prior = vp.vamp(1, (2,), weights="learned", bounds=None)
    params = vp.VAEParams({}, {}, {})
    fitted = vp.boost_prior(prior, identity_vae(), params, KEY, X, num_references=400, learning_rate=0.05)
    error = 4 * X.std(axis=0) / np.sqrt(256)  # of the last steps, each with 256 encodings
    assert (np.abs(fitted.prior["pseudo_inputs"][0] - X.mean(axis=0)) < error).all()
    assert fitted.prior["logits"] == 0


def test_weights_fulfil_the_conditions_of_a_maximum():
    """By Karush, Kuhn and Tucker: the mean of h_k / p is 1 where w_k > 0, and at most 1 elsewhere."""
    with jax.enable_x64(True):
        log_densities = 1.5 * RNG.normal(size=(300, 4)) + np.array([0.0, 0.5, 0.2, -40.0])
        found = np.asarray(refit_weights(jnp.log(jnp.full(4, 0.25)), jnp.asarray(log_densities)))
    weights = np.exp(found)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    mixed = scipy.special.logsumexp(found + log_densities, axis=1, keepdims=True)
    conditions = np.exp(log_densities - mixed).mean(axis=0)
    np.testing.assert_allclose(conditions[:3], 1, atol=2e-3)
    assert conditions[3] < 1
    assert weights[3] < 1e-12


def test_what_cannot_be_boosted_is_refused():
    vae, params = identity_vae(), vp.VAEParams({}, {}, {})
    for prior in (vp.vamp(3, (2,)), vp.mixture(2, 3), vp.vamp(3, (2,), weights="learned", num_classes=2)):
        with pytest.raises(ValueError, match=r"Expected `vp.vamp\(..., weights=\"learned\"\)` without classes"):
            vp.boost_prior(prior, vae, params, KEY, X)
    with pytest.raises(ValueError, match="`learning_rate` to be a finite number > 0; got 0.0"):
        vp.boost_prior(PRIOR, vae, params, KEY, X, learning_rate=0.0)
    with pytest.raises(TypeError, match=r"got VAE and Prior\. The order is prior, vae, params, key, x\."):
        vp.boost_prior(vae, PRIOR, params, KEY, X)
    with pytest.raises(TypeError, match="an array of examples in `x`; got batches"):
        vp.boost_prior(PRIOR, vae, params, KEY, [{"x": X}])
