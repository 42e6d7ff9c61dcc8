"""Gaussian chains: their density against scipy, and the least KL that a diagonal posterior can have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import vaepriors_jax as vp

KEY = jax.random.key(0)


def covariance(num_steps, num_channels, correlation):
    lags = np.abs(np.subtract.outer(np.arange(num_steps), np.arange(num_steps)))
    return np.kron(float(correlation) ** lags, np.eye(num_channels))


@pytest.mark.parametrize(("num_steps", "num_channels"), [(1, 1), (1, 3), (2, 1), (2, 2), (7, 1), (5, 3)])
@pytest.mark.parametrize("correlation", [0, 0.95, -0.7])
def test_density_and_samples_are_those_of_the_joint_gaussian(num_steps, num_channels, correlation):
    p = vp.autoregressive_normal(num_steps, num_channels, correlation=correlation).apply({})
    exact = covariance(num_steps, num_channels, correlation)
    z, log_prob = p.sample_and_log_prob(seed=KEY, sample_shape=10_000)
    expected = np.reshape(scipy.stats.multivariate_normal(cov=exact).logpdf(np.asarray(z, np.float64)), -1)
    np.testing.assert_allclose(log_prob, expected, rtol=2e-5, atol=1e-4)
    # The variance of an entry of the sample covariance is (1 + r^2) / N, at most 2 / N.
    np.testing.assert_allclose(np.cov(z.T).reshape(exact.shape), exact, atol=5 * np.sqrt(2 / len(z)))
    np.testing.assert_array_equal(p.variance(), np.diag(exact))


@pytest.mark.parametrize(("num_steps", "num_channels"), [(1, 2), (2, 1), (3, 2), (40, 1)])
@pytest.mark.parametrize("correlation", [0.0, 0.5, -0.9, 0.999])
def test_the_committed_rate_is_the_least_kl_of_a_diagonal_gaussian(num_steps, num_channels, correlation):
    """The least KL is where means are 0 and variances those of the conditionals, 1 / diag(precision)."""
    p = vp.autoregressive_normal(num_steps, num_channels, correlation=correlation).apply({})
    exact = covariance(num_steps, num_channels, correlation)
    scale = 1 / np.sqrt(np.diag(np.linalg.inv(exact)))
    least = 0.5 * np.linalg.slogdet(exact)[1] - np.log(scale).sum()
    assert p.committed_rate == pytest.approx(least, rel=1e-9, abs=1e-9)
    dim = num_steps * num_channels
    found = vp.kl_divergence(vp.normal_diag(jnp.zeros(dim), jnp.float32(scale)), p, method="analytic")
    assert float(found) == pytest.approx(least, rel=1e-4, abs=1e-5)
    rng = np.random.default_rng(0)
    for spread in (1e-3, 0.1, 1.0):
        loc, log_scale = spread * rng.normal(size=(2, dim))
        q = vp.normal_diag(jnp.float32(loc), jnp.float32(scale * np.exp(log_scale)))
        assert float(vp.kl_divergence(q, p, method="analytic")) > least * (1 - 1e-4) - 1e-5


@pytest.mark.slow
def test_training_cannot_lower_the_kl_below_the_rate():
    """The decoder ignores z, so that nothing but the prior holds the KL up."""
    prior = vp.autoregressive_normal(8, 2, correlation=0.9)
    rate = prior.apply({}).committed_rate

    def kl(params):
        return vp.kl_divergence(vp.normal_diag(params[0], jnp.exp(params[1])), prior.apply({}))

    def value_and_gradient(flat):
        value, gradient = jax.value_and_grad(kl)(jnp.float32(flat.reshape(2, 16)))
        return float(value), np.asarray(gradient, np.float64).reshape(-1)

    start = np.random.default_rng(0).normal(size=32)
    found = scipy.optimize.minimize(value_and_gradient, start, jac=True)
    assert found.fun == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize("correlation", [1, -1.0, float("nan"), "0.5", True, [0.5]])
def test_a_correlation_out_of_range_is_refused(correlation):
    with pytest.raises(ValueError, match="`correlation` as a number between -1 and 1"):
        vp.autoregressive_normal(4, correlation=correlation)
