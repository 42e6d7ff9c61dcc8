"""All likelihoods, as rows of one table: against scipy, against their own samples, and at extreme parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp
from vaepriors_jax.data_checks import check_data

LEVELS = 256


class LikelihoodCase(NamedTuple):
    """A likelihood: parameters of each pixel on a leading axis, and a reference in float64 for one pixel.

    `reference` gives an object with `pdf(x)` and `logpdf(x)`; `points` hold the mass: all levels, or a grid.
    """

    name: str
    make: Callable[..., Any]
    parameters: tuple[np.ndarray, ...]
    reference: Callable[..., Any]
    points: np.ndarray
    extreme: tuple[Any, ...]
    wrong: np.ndarray
    message: str

    def __repr__(self) -> str:
        return self.name

    @property
    def is_discrete(self) -> bool:
        return "levels" in self.message


class Discrete:
    def __init__(self, log_probs):
        self.log_probs = log_probs

    def logpdf(self, x):
        return self.log_probs[np.rint(np.asarray(x) * (LEVELS - 1)).astype(int)]


class Mirrored:
    """1 - x of a reference on [0, 1]."""

    def __init__(self, other):
        self.other = other

    def logpdf(self, x):
        return self.other.logpdf(1 - np.asarray(x, np.float64))

    def cdf(self, x):
        return self.other.sf(1 - np.asarray(x, np.float64))

    def mean(self):
        return 1 - self.other.mean()

    def var(self):
        return self.other.var()


def logistic_log_probs(loc, scale):
    edges = (np.arange(LEVELS + 1) - 0.5) / (LEVELS - 1)
    edges[0], edges[-1] = -np.inf, np.inf
    fixed = scipy.stats.logistic(loc, scale)
    # The difference of whichever tails are small.
    return np.log(np.where(edges[1:] < loc, np.diff(fixed.cdf(edges)), -np.diff(fixed.sf(edges))))


def logistic_mixture(logits, loc, scale):
    terms = [logistic_log_probs(m, s) for m, s in zip(loc, scale, strict=True)]
    return Discrete(scipy.special.logsumexp(terms, axis=0, b=scipy.special.softmax(logits)[:, None]))


def truncated_exponential(logit):
    if logit == 0:
        return scipy.stats.uniform()
    below = scipy.stats.truncexpon(abs(logit), scale=1 / abs(logit))
    return Mirrored(below) if logit > 0 else below


RNG = np.random.default_rng(0)
GREY = np.arange(LEVELS) / (LEVELS - 1)
# Both ends of [0, 1] closely, and of the real line far out.
UNIT = np.concatenate([[0.0], scipy.special.expit(np.linspace(-16, 16, 3001)), [1.0]])
LINE = np.sinh(np.linspace(-10.5, 10.5, 3001))
OFF_LEVEL, OUT_OF_RANGE, INFINITE = np.array([0.0, 0.304]), np.array([0.5, 1.2]), np.array([0.0, np.inf])

CASES = [
    LikelihoodCase(
        "discretized_logistic",
        vp.discretized_logistic,
        (np.array([0.3, -0.2, 0.95]), np.array([0.05, 0.5, 0.01])),
        lambda loc, scale: Discrete(logistic_log_probs(loc, scale)),
        GREY,
        (np.array([1e4, -1e4, 0.5, 0.5, 0.5]), np.array([1e-6, 1e-6, 1e-6, 0.0, 1e30])),
        OFF_LEVEL,
        "over 256 levels; got 0.304",
    ),
    LikelihoodCase(
        "discretized_logistic_mixture",
        vp.discretized_logistic_mixture,
        (
            np.array([[0.0, 1.0], [2.0, -3.0]]),
            np.array([[0.2, 0.7], [0.5, 3.0]]),
            np.array([[0.02, 0.1], [0.004, 0.3]]),
        ),
        logistic_mixture,
        GREY,
        (
            np.array([[1e4, -1e4], [0.0, 0.0], [-1e4, 1e4]]),
            np.array([[1e4, 0.0], [-1e4, 1e4], [0.5, 0.5]]),
            np.full((3, 2), 1e-6),
        ),
        OFF_LEVEL,
        "over 256 levels",
    ),
    LikelihoodCase(
        "categorical_levels",
        vp.categorical_levels,
        (3 * RNG.normal(size=(2, LEVELS)),),
        lambda logits: Discrete(scipy.special.log_softmax(logits)),
        GREY,
        (np.concatenate([np.full((1, 255), -1e4), np.full((1, 1), 1e4)], axis=1),),
        OFF_LEVEL,
        "over 256 levels",
    ),
    LikelihoodCase(
        "binomial_levels",
        vp.binomial_levels,
        (np.array([0.3, -4.0, 9.0]),),
        lambda logit: Discrete(scipy.stats.binom(LEVELS - 1, scipy.special.expit(logit)).logpmf(np.arange(LEVELS))),
        GREY,
        (np.array([1e4, -1e4]),),
        OUT_OF_RANGE,
        "over 256 levels",
    ),
    LikelihoodCase(
        "student_t",
        vp.student_t,
        (np.array([1.5, 3.0, 15.0, 17.0, 1e6]), np.array([0.3, -1.0, 0.0, 0.0, 1.0]), np.array([0.1, 2.0, 1, 1, 0.5])),
        lambda df, loc, scale: scipy.stats.t(df, loc, scale),
        LINE,
        (np.array([3.0, 0.5, 1e6, 3.0]), np.array([1e4, -1e4, 1e4, 0.0]), np.array([1e-6, 1e-6, 1e-6, 0.0])),
        INFINITE,
        "finite",
    ),
    LikelihoodCase(
        "continuous_bernoulli",
        vp.continuous_bernoulli,
        (np.array([0.0, 0.05, -0.4, 0.6, 3.0, -40.0, 1e4]),),
        truncated_exponential,
        UNIT,
        (np.array([1e4, -1e4, 1e-30, -1e-30, 1e30]),),
        OUT_OF_RANGE,
        "vp.normal_diag",
    ),
]
EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=repr)
NUM_SAMPLES = 10_000


def evaluate(case, dtype):
    """Of each pixel: log-densities at the points, mean, variance, samples; and of all at once: log-density, x."""
    parameters = [jnp.asarray(array, dtype) for array in case.parameters]
    points = jnp.asarray(case.points, dtype)
    num_samples = NUM_SAMPLES if dtype == jnp.float32 else 1

    def of_pixel(*one):
        fixed = case.make(*one)
        samples = fixed.sample(seed=jax.random.key(0), sample_shape=num_samples)
        return fixed.log_prob(points), fixed.mean(), fixed.variance(), samples

    def all_at_once():
        fixed = case.make(*parameters)
        assert fixed.batch_shape == ()
        x = fixed.sample(seed=jax.random.key(1), sample_shape=(2, 3))
        return fixed.log_prob(x), x

    found = jax.jit(lambda: (jax.vmap(of_pixel)(*parameters), all_at_once()))()
    return jax.tree.map(np.asarray, (parameters, points, *found))


@EVERY_CASE
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
def test_against_scipy(case, dtype):
    tolerance = 1e-5 if dtype == jnp.float32 else 1e-10
    with jax.enable_x64(dtype == jnp.float64), jax.numpy_dtype_promotion("strict"):
        parameters, points, (log_probs, means, variances, samples), (joint, x) = evaluate(case, dtype)
    assert log_probs.dtype == joint.dtype == x.dtype == dtype
    points = points.astype(np.float64)
    references = [case.reference(*one) for one in zip(*(a.astype(np.float64) for a in parameters), strict=True)]
    for i, reference in enumerate(references):
        expected = reference.logpdf(points)
        np.testing.assert_allclose(log_probs[i], expected, rtol=tolerance, atol=tolerance)
        if case.is_discrete:
            probabilities = np.exp(log_probs[i].astype(np.float64))
            assert probabilities.sum() == pytest.approx(1, abs=tolerance)
            mean = np.exp(expected) @ points
            variance = np.exp(expected) @ (points - mean) ** 2
        else:
            mean, variance = reference.mean(), reference.var()
            if expected.max() < 5:  # a grid that is fine enough
                assert np.trapezoid(np.exp(log_probs[i]), points) == pytest.approx(1, abs=1e-4)
        np.testing.assert_allclose(means[i], mean, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(variances[i], variance, rtol=20 * tolerance)
        if dtype == jnp.float32:
            check_samples(case, reference, samples[i])
    pixels = np.stack([reference.logpdf(x[..., i]) for i, reference in enumerate(references)])
    np.testing.assert_allclose(joint, pixels.sum(0), rtol=tolerance, atol=len(pixels) * tolerance)


def check_samples(case, reference, samples):
    """Frequencies within 5 standard errors; for densities a Kolmogorov-Smirnov test."""
    assert np.isfinite(samples).all()
    case.make(*case.parameters).check_support(samples)
    if not case.is_discrete:
        assert scipy.stats.kstest(samples.astype(np.float64), reference.cdf).pvalue > 1e-4
        return
    frequencies = np.bincount(np.rint(samples * (LEVELS - 1)).astype(int), minlength=LEVELS) / len(samples)
    probabilities = np.exp(reference.logpdf(GREY))
    error = np.sqrt(probabilities * (1 - probabilities) / len(samples))
    often = probabilities * len(samples) > 20
    assert (np.abs(frequencies - probabilities) < 5 * error + 1e-6)[often].all()
    assert frequencies[~often].sum() < probabilities[~often].sum() + 0.01


@EVERY_CASE
def test_values_and_gradients_are_finite_at_extreme_parameters(case):
    x = jnp.array([0.0, 128 / 255, 1.0])
    parameters = [jnp.asarray(array, jnp.float32) for array in case.extreme]

    def one(*parameters):
        fixed = case.make(*parameters)
        return jnp.sum(fixed.log_prob(x)), fixed.sample(seed=jax.random.key(0))

    gradient = jax.value_and_grad(one, tuple(range(len(parameters))), has_aux=True)
    found = jax.jit(jax.vmap(gradient))(*parameters)
    for leaf in jax.tree.leaves(found):
        assert np.isfinite(leaf).all()


@EVERY_CASE
def test_half_precision_becomes_single(case):
    fixed = case.make(*(jnp.asarray(array, jnp.bfloat16) for array in case.parameters))
    values = jax.eval_shape(lambda x: (fixed.log_prob(x), fixed.sample(seed=jax.random.key(0))), jnp.zeros(1))
    assert {value.dtype for value in values} == {jnp.dtype(jnp.float32)}


@EVERY_CASE
def test_data_outside_the_support_are_refused(case):
    fixed = case.make(*case.parameters)
    fixed.check_support(np.float16(GREY))
    with pytest.raises(ValueError, match=case.message):
        fixed.check_support(case.wrong)


def test_data_are_checked_against_the_levels_of_a_decoder():
    vae = vp.VAE(
        encode=lambda params, x: vp.normal_diag(x, jnp.ones(2)),
        decode=lambda params, z: vp.discretized_logistic(z, 0.1, num_levels=17),
        prior=vp.standard_normal(2),
    )
    params = vp.VAEParams({}, {}, {})
    check_data(vae, params, {"x": np.array([[0, 5 / 16], [1, 0.5]])}, jax.random.key(0))
    with pytest.raises(ValueError, match=r"levels k / 16.*got 0.3.*num_levels="):
        check_data(vae, params, {"x": np.array([[0, 0.3], [1, 0.5]])}, jax.random.key(0))


def test_moments_of_a_heavy_tail_do_not_exist():
    fixed = vp.student_t(jnp.array([1.0, 2.0]), 0.0, 1.0)
    assert np.isnan(fixed.mean()).tolist() == [True, False]
    assert np.isnan(fixed.variance()).tolist() == [True, False]
    assert np.isinf(fixed.variance()[1])


def test_arguments_out_of_range():
    for call in (
        lambda: vp.discretized_logistic(jnp.zeros(2), 1.0, num_levels=1),
        lambda: vp.discretized_logistic_mixture(jnp.zeros(2), jnp.zeros(2), 1.0, num_levels=1.5),
        lambda: vp.binomial_levels(jnp.zeros(2), num_levels=1),
        lambda: vp.categorical_levels(jnp.zeros((5, 1))),
        lambda: vp.student_t(0.0, jnp.zeros(2), 1.0),
        lambda: vp.bits_per_dim(-1.0, 0),
        lambda: vp.bits_per_dim(-1.0, 1, bin_width=0.0),
    ):
        with pytest.raises(ValueError, match="Expected `"):
            call()


def test_bits_per_dimension_by_hand():
    """A 2x2 image of three channels: 12 values, each of probability 1/16, that is, 4 bits."""
    assert vp.bits_per_dim(-12 * np.log(16), 2 * 2 * 3) == pytest.approx(4.0)
    # The uniform density on [0, 1] has log p(x) = 0; in 256 bins that is 8 bits, in whatever units x is.
    assert vp.bits_per_dim(0.0, 12, bin_width=1 / 256) == pytest.approx(8.0)
    assert vp.bits_per_dim(-12 * np.log(256), 12, bin_width=1.0) == pytest.approx(8.0)
