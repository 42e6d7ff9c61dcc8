"""VampPriors whose pseudo-inputs are training examples or centres of k-means, and stay so."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.special
import scipy.stats
from sklearn.cluster import KMeans

import vaepriors_jax as vp

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = (RNG.random((40, 6)) < 0.5).astype(np.float32)
# Three far clusters of 10, 20 and 70 examples [2, 3], in (0, 1).
SIZES = np.array([10, 20, 70])
LABELS = np.repeat(np.arange(3), SIZES)
CLUSTERS = np.array([0.2, 0.5, 0.8])[LABELS, None, None] + 0.01 * RNG.normal(size=(100, 2, 3))


def encode(params, x):
    return vp.normal_diag(jnp.tanh(params["w"] @ x), jnp.exp(params["b"]))


def decode(params, z):
    return vp.bernoulli(params["w"] @ z)


def test_pseudo_inputs_in_stop_gradient_stay_training_examples_while_the_networks_learn():
    prior = vp.stop_gradient(vp.vamp(5, (6,), bounds=None))
    start = vp.init_from_data(prior, KEY, x=X)
    inputs = np.asarray(vp.pseudo_inputs(prior, start))
    assert all((X == u).all(axis=1).any() for u in inputs)  # exactly, zeros and ones

    weights = {"w": jnp.asarray(0.3 * RNG.normal(size=(2, 6)), jnp.float32), "b": jnp.zeros(2)}
    params = vp.VAEParams(weights, {"w": jnp.ones((6, 2))}, start)
    vae = vp.VAE(encode, decode, prior)
    optimizer = optax.adam(1e-2)
    state, step = vp.init_train_state(params, optimizer), vp.make_train_step(vae, optimizer)
    for _ in range(3):
        state, _ = step(state, KEY, {"x": X})
    np.testing.assert_array_equal(vp.pseudo_inputs(prior, state.params.prior), inputs)
    assert np.abs(state.params.encoder["w"] - weights["w"]).max() > 1e-3

    # The encoder learns through the prior too: by scipy, the density moves with it.
    def log_prob(weights):
        return vae.latent_prior(params._replace(encoder=weights)).log_prob(jnp.ones(2))

    nats, gradient = jax.value_and_grad(log_prob)(weights)
    means = np.tanh(inputs @ np.asarray(weights["w"], np.float64).T)
    by_hand = scipy.special.logsumexp(scipy.stats.norm.logpdf(1, means).sum(axis=1)) - np.log(5)
    np.testing.assert_allclose(nats, by_hand, rtol=1e-5)
    assert np.abs(gradient["w"]).max() > 0


def test_a_start_at_k_means_is_that_of_scikit_learn_with_the_shares_of_the_clusters():
    prior = vp.vamp(3, (2, 3), weights="learned", start="k-means")
    params = vp.init_from_data(prior, KEY, x=CLUSTERS)
    inputs = np.asarray(vp.pseudo_inputs(prior, params))
    order = np.argsort(inputs[:, 0, 0])
    reference = KMeans(3, n_init=10, random_state=0).fit(CLUSTERS.reshape(100, 6)).cluster_centers_
    np.testing.assert_allclose(
        inputs[order].reshape(3, 6), reference[np.argsort(reference[:, 0])], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(jax.nn.softmax(params["logits"])[order], (SIZES + 1) / 103, rtol=1e-5)


def test_a_start_at_k_means_within_each_class():
    prior = vp.vamp(6, (2, 3), num_classes=3, start="k-means", bounds=(0, 255))
    grey = np.uint8(255 * CLUSTERS.clip(0, 1))
    inputs = np.asarray(vp.pseudo_inputs(prior, vp.init_from_data(prior, KEY, x=grey, y=LABELS)))
    # Two centres in each class, near the class's mean and not the same.
    means = np.repeat([grey[LABELS == c].mean(axis=0) for c in range(3)], 2, axis=0)
    assert np.abs(inputs - means).max() < 10
    assert all(np.abs(inputs[i] - inputs[i + 1]).max() > 0.5 for i in (0, 2, 4))


def test_what_cannot_start_at_k_means_is_refused():
    with pytest.raises(ValueError, match="`start` .*examples.*k-means.*; got 'kmeans'"):
        vp.vamp(3, (6,), start="kmeans")
    with pytest.raises(ValueError, match="with covariates, here batch: a centre of k-means has none"):
        vp.vamp(3, (6,), covariates={"batch": {"num_classes": 2}}, start="k-means")
    with pytest.raises(ValueError, match="as many examples as pseudo-inputs"):
        vp.init_from_data(vp.vamp(41, (6,), start="k-means"), KEY, x=X)
