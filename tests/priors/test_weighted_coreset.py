"""The prior of a weighted coreset beside the exemplar prior that it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp
from tests.cases import encode

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
CENTRES = RNG.random((3, 6)).astype(np.float32)
COUNTS = np.array([30, 15, 5])
EXEMPLARS = CENTRES.repeat(COUNTS, axis=0)
Z = RNG.normal(size=(40, 2)).astype(np.float32)


def test_weights_stand_for_equal_exemplars():
    """Exactly: exemplars of three kinds, each as often as its weight says."""
    prior = vp.weighted_coreset(2, 3, (6,), bounds=None)
    params = {"pseudo_inputs": CENTRES, "logits": jnp.log(COUNTS / 1.0), "log_scale": jnp.log(0.3)}
    exemplars = vp.exemplar(2)
    expected = exemplars.apply({"log_scale": jnp.log(0.3)}, encode=encode, exemplars=EXEMPLARS)
    found = prior.apply(params, encode=encode)
    np.testing.assert_allclose(found.log_prob(Z), expected.log_prob(Z), rtol=1e-5)


def test_a_start_at_k_means_has_the_density_of_the_exemplars():
    prior = vp.weighted_coreset(2, 3, (6,), bounds=None, start="k-means", initial_width=0.5)
    params = vp.init_from_data(prior, KEY, x=EXEMPLARS)
    shares = sorted(np.exp(jax.nn.log_softmax(params["logits"])))
    np.testing.assert_allclose(shares, (np.sort(COUNTS) + 1) / 53, rtol=1e-5)
    whole = vp.exemplar(2, initial_scale=0.5)
    expected = whole.apply(whole.init(KEY), encode=encode, exemplars=EXEMPLARS).log_prob(Z)
    # The shares are those of (n + 1) / (N + K).
    np.testing.assert_allclose(prior.apply(params, encode=encode).log_prob(Z), expected, atol=0.15)


def test_weights_stay_positive_under_steps_that_would_cross_zero():
    """Plain gradient steps of 1 on z at one component: free weights would turn negative, these do not."""
    prior = vp.weighted_coreset(2, 3, (6,))
    params, optimizer = prior.init(KEY), optax.sgd(1.0)
    state, z = optimizer.init(params), jnp.array([1.0, -1.0])

    @jax.jit
    def step(params, state):
        gradient = jax.grad(lambda p: -prior.apply(p, encode=encode).log_prob(z))(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state

    for _ in range(50):
        params, state = step(params, state)
    weights = np.exp(prior.apply(params, encode=encode).log_weights)
    assert (weights > 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert np.isfinite(prior.apply(params, encode=encode).log_prob(z))


def test_an_encoder_into_another_dimension_is_refused():
    prior = vp.weighted_coreset(3, 3, (6,))
    with pytest.raises(ValueError, match=r"dim=3; its mean has the shape \(2,\)"):
        prior.apply(prior.init(KEY), encode=encode)
