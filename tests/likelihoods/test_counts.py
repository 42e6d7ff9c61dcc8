"""Likelihoods of counts against formulas in long doubles, over all sizes of counts, means and dispersions."""

from functools import lru_cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp

MEANS = [1e-8, 1e-3, 0.3, 1.0, 7.0, 40.0, 1e3, 999.0, 1e6]
DISPERSIONS = [1e-3, 0.1, 1.0, 7.9, 30.0, 1e3, 1e6]
COUNTS = [0, 1, 2, 7, 8, 40, 1000, 999_999, 1_000_000]


@lru_cache
def rising(k: int, theta: float) -> tuple[np.longdouble, np.longdouble]:
    """log(theta (theta + 1) ... (theta + k - 1) / k!), and its derivative, factor by factor in long doubles."""
    j, theta = np.arange(k, dtype=np.longdouble), np.longdouble(theta)
    return np.log((theta + j) / (j + 1)).sum(), (1 / (theta + j)).sum()


def exact_negative_binomial(k: int, mean: float, theta: float) -> tuple[float, float, float]:
    """Log-probability and its derivatives in mean and theta, from the definition."""
    (log_choices, by_theta), mean, theta = rising(k, theta), np.longdouble(mean), np.longdouble(theta)
    log_prob = log_choices - theta * np.log1p(mean / theta) - k * np.log1p(theta / mean)
    by_theta = by_theta - np.log1p(mean / theta) + (mean - k) / (theta + mean)
    return float(log_prob), float(theta / (theta + mean) * (k / mean - 1)), float(by_theta)


def exact_poisson(k: int, mean: float) -> tuple[float, float]:
    """Log-probability and its derivative in the mean."""
    mean = np.longdouble(mean)
    return float(np.log(mean / np.arange(1, k + 1)).sum() - mean), float(k / mean - 1)


def as_arrays(grid, dtype):
    """Counts and parameters in one type; the reference gets the parameters as that type holds them."""
    counts, *parameters = (np.array(column) for column in zip(*grid, strict=True))
    return counts, [parameter.astype(dtype) for parameter in parameters]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_negative_binomial_and_its_gradients_in_all_digits(dtype):
    counts, (means, thetas) = as_arrays(product(COUNTS, MEANS, DISPERSIONS), dtype)
    with jax.enable_x64(dtype == np.float64):

        def log_prob(mean, theta):
            return vp.negative_binomial(mean, theta).pixel_log_prob(jnp.asarray(counts, dtype))

        def total(mean, theta):
            return jnp.sum(log_prob(mean, theta))

        values = jax.jit(log_prob)(means, thetas)
        found = [values, *jax.jit(jax.grad(total, (0, 1)))(means, thetas)]
        found = [np.asarray(array) for array in found]
        assert {array.dtype for array in found} == {np.dtype(dtype)}
    grid = zip(counts.tolist(), means.tolist(), thetas.tolist(), strict=True)
    expected = np.array([exact_negative_binomial(*point) for point in grid]).T
    tolerance = 3e-5 if dtype == np.float32 else 3e-12
    for array, exact in zip(found, expected, strict=True):
        # The derivative in theta is a difference of terms of this size.
        sizes = 10 * counts / thetas / (counts + thetas) + 2 * (thetas < 8)
        lost = np.finfo(dtype).eps * sizes if array is found[2] else 0
        np.testing.assert_array_less(np.abs(array - exact), tolerance * np.abs(exact) + lost + 1e-21)
    # And the reference itself, where SciPy's is accurate.
    easy = (counts < 50) & (thetas > 0.05) & (thetas < 50) & (means > 0.1) & (means < 50)
    k, mean, theta = counts[easy], means[easy].astype(np.float64), thetas[easy].astype(np.float64)
    of_scipy = scipy.stats.nbinom(theta, theta / (theta + mean)).logpmf(k)
    np.testing.assert_allclose(expected[0][easy], of_scipy, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_poisson_and_its_gradient_in_all_digits(dtype):
    counts, (means,) = as_arrays(product(COUNTS, MEANS), dtype)
    with jax.enable_x64(dtype == np.float64):

        def log_prob(mean):
            return vp.poisson(mean).pixel_log_prob(jnp.asarray(counts, dtype))

        found = log_prob(means), jax.grad(lambda mean: jnp.sum(log_prob(mean)))(means)
    expected = np.array([exact_poisson(int(k), float(m)) for k, m in zip(counts, means, strict=True)]).T
    tolerance = 3e-5 if dtype == np.float32 else 3e-12
    np.testing.assert_allclose(found[0], expected[0], rtol=tolerance)
    np.testing.assert_allclose(found[1], expected[1], rtol=tolerance, atol=1e-30)
    np.testing.assert_allclose(expected[0], scipy.stats.poisson(means.astype(float)).logpmf(counts), rtol=1e-6)


def zero_inflated_logpmf(base, logits):
    """Of k, from SciPy's frozen distribution and the probability of an extra zero."""

    def logpmf(k):
        extra = np.where(np.asarray(k) == 0, scipy.special.log_expit(logits), -np.inf)
        return np.logaddexp(extra, scipy.special.log_expit(-logits) + base.logpmf(k))

    return logpmf


MEAN, THETA, LOGITS = np.array([0.4, 6.0, 30.0]), np.array([0.5, 2.0, 50.0]), np.array([-1.0, 0.5, 2.0])
OF_SCIPY = {
    "poisson": scipy.stats.poisson(MEAN),
    "negative_binomial": scipy.stats.nbinom(THETA, THETA / (THETA + MEAN)),
}


@pytest.mark.parametrize("name", OF_SCIPY)
@pytest.mark.parametrize("inflated", [False, True])
def test_probabilities_moments_and_samples_with_an_exposure(name, inflated):
    arguments = (MEAN / 8, THETA)[: 1 + (name == "negative_binomial")]
    likelihood, base = getattr(vp, name)(*arguments, exposure=8.0), OF_SCIPY[name]
    k = np.arange(400)[:, None] * np.ones(3, int)
    expected = base.logpmf(k)
    if inflated:
        likelihood, expected = vp.zero_inflated(likelihood, LOGITS), zero_inflated_logpmf(base, LOGITS)(k)
    found = likelihood.pixel_log_prob(k)
    np.testing.assert_allclose(found, expected, rtol=3e-5, atol=1e-6)
    np.testing.assert_allclose(likelihood.log_prob(k), found.sum(1), rtol=1e-6)
    probabilities = np.exp(expected)
    np.testing.assert_allclose(probabilities.sum(0), 1, rtol=1e-6)
    mean = (probabilities * k).sum(0)
    variance = (probabilities * (k - mean) ** 2).sum(0)
    np.testing.assert_allclose(likelihood.mean(), mean, rtol=1e-5)
    np.testing.assert_allclose(likelihood.variance(), variance, rtol=1e-4)
    samples = np.asarray(likelihood.sample(seed=jax.random.key(0), sample_shape=20_000))
    likelihood.check_support(samples)
    error = np.sqrt(probabilities * (1 - probabilities) / len(samples))
    frequencies = np.stack([np.bincount(column.astype(int), minlength=400)[:400] for column in samples.T], 1)
    assert (np.abs(frequencies / len(samples) - probabilities) < 5 * error + 2e-4).all()


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float16", "float64"]
)
def test_every_type_that_holds_counts(dtype):
    x = np.array([0, 3, 100]).astype(dtype)
    likelihood = vp.zero_inflated(vp.negative_binomial(MEAN, THETA), LOGITS)
    np.testing.assert_array_equal(likelihood.log_prob(x), likelihood.log_prob(np.array([0.0, 3.0, 100.0], np.float32)))
    assert likelihood.log_prob(x).dtype == np.float32
    likelihood.check_support(x)


def test_parameters_at_the_ends_of_their_ranges():
    ends = jnp.array([0.0, 1e-30, 1e-8, 1.0, 1e6, 1e30])
    mean, theta, k = (array.ravel() for array in jnp.meshgrid(ends, ends, jnp.array([0.0, 1.0, 1e6])))

    def total(mean, theta):
        counts = vp.negative_binomial(mean, theta).log_prob(k) + vp.poisson(mean).log_prob(k)
        return counts + vp.zero_inflated(vp.negative_binomial(mean, theta), -1e4).log_prob(k)

    for array in jax.tree.leaves(jax.jit(jax.value_and_grad(total, (0, 1)))(mean, theta)):
        assert np.isfinite(array).all()
    samples = vp.negative_binomial(mean, theta).sample(seed=jax.random.key(0))
    assert np.isfinite(samples).all()
    assert (samples >= 0).all()


@pytest.mark.parametrize("x", [np.array([0.5, 1.0, 2.0]), np.array([-1, 0, 3]), np.array([0.0, np.nan, 1.0])])
def test_what_is_no_count_is_refused(x):
    with pytest.raises(ValueError, match=r"Expected counts 0, 1, 2, .*raw counts.*exposure="):
        vp.poisson(np.ones(3)).check_support(x)


def test_parameters_that_cannot_be_right():
    with pytest.raises(ValueError, match="Expected `mean` >= 0; got values from -1"):
        vp.negative_binomial(np.array([-1.0]), 1.0)
    with pytest.raises(ValueError, match="Expected `exposure` >= 0"):
        vp.poisson(np.array([1.0]), exposure=np.nan)
    with pytest.raises(TypeError, match="Expected a likelihood of counts"):
        vp.zero_inflated(vp.bernoulli(jnp.zeros(2)), 0.0)
