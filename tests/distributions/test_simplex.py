"""Dirichlet and logistic-normal distributions against scipy, TFP and numerical Jacobians."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from tensorflow_probability.substrates.jax import distributions as tfd

import vaepriors_jax as vp

KEY = jax.random.key(0)
ALPHA = np.array([0.3, 1.0, 2.5, 6.0])
LOC, SCALE = np.array([0.5, -1.0, 2.0]), np.array([0.4, 1.0, 1.5])


def f32(array):
    return jnp.asarray(array, jnp.float32)


def test_dirichlet_is_that_of_scipy():
    q, reference = vp.dirichlet(f32(ALPHA)), scipy.stats.dirichlet(ALPHA)
    z = np.asarray(jax.jit(lambda: q.sample(seed=KEY, sample_shape=5000))(), np.float64)
    np.testing.assert_allclose(z.sum(1), 1, atol=1e-6)
    points = z[:30] / z[:30].sum(1, keepdims=True)
    expected = [reference.logpdf(one) for one in points]
    np.testing.assert_allclose(jax.jit(q.log_prob)(f32(points)), expected, rtol=1e-4, atol=1e-4)
    for i, alpha in enumerate(ALPHA):
        assert scipy.stats.kstest(z[:, i], scipy.stats.beta(alpha, ALPHA.sum() - alpha).cdf).pvalue > 1e-4
    np.testing.assert_allclose(q.mean(), reference.mean(), rtol=1e-5)
    np.testing.assert_allclose(q.variance(), reference.var(), rtol=1e-5)


def test_logistic_normal_is_a_map_of_a_gaussian():
    """The density of u over the volume that the map makes, by automatic differentiation."""
    q = vp.logistic_normal(f32(LOC), f32(SCALE))
    z = np.asarray(q.sample(seed=KEY, sample_shape=5000))
    log_ratios = np.log(z[:, :-1]) - np.log(z[:, -1:])
    for i in range(3):
        assert scipy.stats.kstest(log_ratios[:, i], scipy.stats.norm(LOC[i], SCALE[i]).cdf).pvalue > 1e-4

    def first_entries(u):
        return (jnp.exp(u) / (1 + jnp.exp(u).sum())).astype(u.dtype)

    log_volume = np.linalg.slogdet(jax.vmap(jax.jacfwd(first_entries))(f32(log_ratios[:30])))[1]
    expected = scipy.stats.norm.logpdf(log_ratios[:30], LOC, SCALE).sum(1) - log_volume
    np.testing.assert_allclose(jax.jit(q.log_prob)(z[:30]), expected, rtol=1e-4, atol=1e-4)
    pair = vp.logistic_normal(f32(LOC[:1]), f32(SCALE[:1]))
    share = np.array([0.01, 0.4, 0.99], np.float32)
    expected = tfd.LogitNormal(f32(LOC[0]), f32(SCALE[0])).log_prob(share)
    np.testing.assert_allclose(pair.log_prob(np.stack([share, 1 - share], -1)), expected, rtol=1e-4)


def test_closed_forms_of_kl():
    q, p = ALPHA, np.array([1.0, 0.2, 3.0, 0.5])
    expected = tfd.kl_divergence(tfd.Dirichlet(f32(q)), tfd.Dirichlet(f32(p)))
    for pair in ((vp.dirichlet(f32(q)), vp.dirichlet(f32(p))), (tfd.Dirichlet(f32(q)), vp.dirichlet(f32(p)))):
        np.testing.assert_allclose(vp.kl_divergence(*pair, method="analytic"), expected, rtol=1e-4)
    prior = vp.logistic_normal_prior(4).apply({})
    posterior = vp.logistic_normal(f32(LOC), f32(SCALE))
    z = posterior.sample(seed=KEY, sample_shape=5000)
    terms = np.asarray(posterior.log_prob(z) - prior.log_prob(z), np.float64)
    error = terms.std() / np.sqrt(len(terms))
    assert abs(vp.kl_divergence(posterior, prior, method="analytic") - terms.mean()) < 5 * error
    with pytest.raises(ValueError, match="No closed form"):
        vp.kl_divergence(posterior, vp.dirichlet(f32(p)), method="analytic")


def test_gradients_through_samples_are_those_of_the_mean():
    """d E[z_i] / d alpha_j = (delta_ij - m_i) / sum(alpha)."""

    def mean(alpha):
        return vp.dirichlet(alpha).sample(seed=KEY, sample_shape=20_000).mean(0)

    alpha = np.array([0.5, 1.0, 2.5])
    expected = (np.eye(3) - alpha[:, None] / alpha.sum()) / alpha.sum()
    np.testing.assert_allclose(jax.jit(jax.jacrev(mean))(f32(alpha)), expected, atol=0.01)


def test_numbers_and_gradients_are_finite_at_corners_and_for_extreme_concentrations():
    def total(alpha, z):
        q, p = vp.dirichlet(alpha), vp.logistic_normal(jnp.log(alpha[:-1]), alpha[1:])
        numbers = [q.log_prob(z), p.log_prob(z), jnp.sum(q.sample(seed=KEY) ** 2), jnp.sum(p.sample(seed=KEY) ** 2)]
        return sum(numbers) + vp.kl_divergence(q, vp.dirichlet(jnp.ones(3)))

    compiled = jax.jit(jax.value_and_grad(total, (0, 1)))
    for alpha in ([1e-3, 1e-3, 1e-3], [1e4, 1e4, 1e4], [1e-3, 1.0, 1e4]):
        for z in ([1.0, 0.0, 0.0], [0.2, 0.3, 0.5], [0.0, 1e-38, 1.0]):
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(compiled(f32(alpha), f32(z))))


def test_starts_from_data():
    z = np.random.default_rng(0).dirichlet(ALPHA, 20_000)
    params = vp.init_from_data(vp.dirichlet_prior(4, learned=True), KEY, z=z)
    np.testing.assert_allclose(np.exp(params["log_concentration"]), ALPHA, rtol=0.05)
    u = LOC + SCALE * np.random.default_rng(0).normal(size=(20_000, 3))
    z = scipy.special.softmax(np.pad(u, ((0, 0), (0, 1))), axis=1)
    params = vp.init_from_data(vp.logistic_normal_prior(4, learned=("loc", "scale")), KEY, z=z)
    np.testing.assert_allclose(params["loc"], LOC, atol=0.05)
    np.testing.assert_allclose(np.exp(params["log_scale"]), SCALE, rtol=0.03)
    assert vp.dirichlet_prior(3).init(KEY) == vp.logistic_normal_prior(3).init(KEY) == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vp.dirichlet_prior(1), "`dim` to be an integer >= 2; got 1"),
        (lambda: vp.dirichlet_prior(3, concentration=0.0), "`concentration` to be a finite number > 0; got 0.0"),
        (lambda: vp.logistic_normal_prior(1), "`dim` to be an integer >= 2; got 1"),
        (lambda: vp.logistic_normal_prior(3, learned=("df",)), "each of loc, scale at most once"),
        (lambda: vp.dirichlet(jnp.array([1.0, 0.0])), "`concentration` > 0; got values from 0.0 to 1.0"),
        (lambda: vp.dirichlet(jnp.ones((5, 3))), r"got shape \[5, 3\]"),
        (lambda: vp.logistic_normal(jnp.zeros(2), -jnp.ones(2)), "`scale` > 0"),
        (lambda: vp.logistic_normal(jnp.zeros((5, 2)), jnp.ones((5, 2))), r"got shape \[5, 2\]"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
