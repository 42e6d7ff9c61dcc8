"""Distributions against scipy, scikit-learn and TFP: 1e-5 relative in float32, 1e-10 in float64."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from sklearn.mixture import GaussianMixture
from tensorflow_probability.substrates import jax as tfp

import vaepriors_jax as vp

RNG = np.random.default_rng(0)
DIM, K = 4, 6
LOC = RNG.normal(size=(K, DIM)) * 2
SCALE = np.exp(RNG.normal(size=(K, DIM)) * 0.5)
LOWER = np.tril(RNG.normal(size=(K, DIM, DIM)) * 0.5, -1) + np.eye(DIM) * SCALE[:, None, :]
WEIGHTS = RNG.dirichlet(np.ones(K))
Z = RNG.normal(size=(50, DIM)) * 3


def precisions():
    return [(jnp.float32, 1e-5), (jnp.float64, 1e-10)]


def check(make, reference, values=Z):
    """Compares `make(dtype).log_prob` with a float64 reference at both precisions."""
    for dtype, tolerance in precisions():
        with jax.enable_x64(dtype == jnp.float64), jax.numpy_dtype_promotion("strict"):
            found = make(dtype).log_prob(jnp.asarray(values, dtype))
            assert found.dtype == dtype
        np.testing.assert_allclose(found, reference, rtol=tolerance, atol=tolerance)


def diagonal(dtype):
    return vp.DiagonalMixture(*(jnp.asarray(a, dtype) for a in (np.log(WEIGHTS), LOC, SCALE)))


def full(dtype):
    return vp.FullMixture(*(jnp.asarray(a, dtype) for a in (np.log(WEIGHTS), LOC, LOWER)))


def test_normal_diag_against_scipy():
    reference = scipy.stats.multivariate_normal(LOC[0], np.diag(SCALE[0] ** 2)).logpdf(Z)
    check(lambda dtype: vp.normal_diag(jnp.asarray(LOC[0], dtype), jnp.asarray(SCALE[0], dtype)), reference)


def test_diagonal_mixture_against_scipy():
    terms = [
        np.log(w) + scipy.stats.multivariate_normal(m, np.diag(s**2)).logpdf(Z)
        for w, m, s in zip(WEIGHTS, LOC, SCALE, strict=True)
    ]
    check(diagonal, scipy.special.logsumexp(terms, axis=0))


def test_mixtures_against_scikit_learn():
    for kind, make in (("diag", diagonal), ("full", full)):
        model = GaussianMixture(K, covariance_type=kind)
        model.weights_, model.means_ = WEIGHTS, LOC
        covariances = LOWER @ LOWER.swapaxes(-1, -2)
        model.precisions_cholesky_ = (
            1 / SCALE if kind == "diag" else np.stack([np.linalg.inv(np.linalg.cholesky(c)).T for c in covariances])
        )
        check(make, model.score_samples(Z))
        np.testing.assert_allclose(
            make(jnp.float32).responsibilities(jnp.asarray(Z, jnp.float32)), model.predict_proba(Z), atol=1e-5
        )


def test_diagonal_mixture_against_tfp():
    tfd = tfp.distributions
    reference = tfd.MixtureSameFamily(
        tfd.Categorical(probs=np.float32(WEIGHTS)), tfd.MultivariateNormalDiag(np.float32(LOC), np.float32(SCALE))
    )
    z = jnp.asarray(Z, jnp.float32)
    found = diagonal(jnp.float32)
    np.testing.assert_allclose(found.log_prob(z), reference.log_prob(z), rtol=1e-5)
    np.testing.assert_allclose(found.mean(), reference.mean(), rtol=1e-5)
    np.testing.assert_allclose(found.variance(), reference.variance(), rtol=1e-5)


@pytest.mark.parametrize("make", [diagonal, full], ids=["diagonal", "full"])
def test_mixture_samples_have_its_moments(make):
    fixed = make(jnp.float32)
    z = np.asarray(fixed.sample(seed=jax.random.key(0), sample_shape=100_000), np.float64)
    error = z.std(0) / np.sqrt(len(z))
    assert (np.abs(z.mean(0) - fixed.mean()) < 5 * error).all()
    squares = (z - np.asarray(fixed.mean(), np.float64)) ** 2
    assert (np.abs(squares.mean(0) - fixed.variance()) < 5 * squares.std(0) / np.sqrt(len(z))).all()
    # How often each component is chosen, through the responsibilities: E_p[r_k] = w_k.
    responsibilities = np.asarray(fixed.responsibilities(z[:20_000].astype(np.float32)), np.float64)
    error = responsibilities.std(0) / np.sqrt(len(responsibilities))
    assert (np.abs(responsibilities.mean(0) - WEIGHTS) < 5 * error).all()


def test_general_mixture_agrees_with_the_diagonal_one():
    one = diagonal(jnp.float32)
    general = vp.Mixture(one.log_weights, one.parameters, lambda slice_: vp.normal_diag(*slice_))
    z = jnp.asarray(Z, jnp.float32)
    assert general.event_shape == (DIM,)
    np.testing.assert_allclose(general.log_prob(z), one.log_prob(z), rtol=1e-5)
    np.testing.assert_allclose(general.mean(), one.mean(), rtol=1e-5)
    np.testing.assert_allclose(general.variance(), one.variance(), rtol=1e-5)
    samples = general.sample(seed=jax.random.key(0), sample_shape=20_000)
    assert (np.abs(samples.mean(0) - one.mean()) < 5 * samples.std(0) / np.sqrt(20_000)).all()


def test_mixture_far_away_keeps_a_finite_gradient():
    z = jnp.full(DIM, 1e4)
    value, gradient = jax.value_and_grad(diagonal(jnp.float32).log_prob)(z)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("logit", [0.0, 1.0, -20.0, 104.0, -104.0, 1e6, -1e30])
def test_bernoulli_is_stable_at_any_logit(logit):
    for x in (0.0, 1.0):
        value, gradient = jax.value_and_grad(lambda logit: vp.bernoulli(logit).log_prob(jnp.array([x])))(  # noqa: B023
            jnp.array([logit])
        )
        expected = scipy.special.log_expit(logit if x else -logit)
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(gradient, x - scipy.special.expit(logit), rtol=1e-5, atol=1e-7)


def test_bernoulli_against_scipy_and_its_samples():
    logits = RNG.normal(size=(3, 5)) * 3
    x = RNG.integers(0, 2, size=(7, 3, 5))
    reference = scipy.stats.bernoulli(scipy.special.expit(logits)).logpmf(x).sum((1, 2))
    check(lambda dtype: vp.bernoulli(jnp.asarray(logits, dtype)), reference, x)
    fixed = vp.bernoulli(jnp.asarray(logits, jnp.float32))
    samples = fixed.sample(seed=jax.random.key(0), sample_shape=50_000)
    assert set(np.unique(samples)) == {0.0, 1.0}
    error = np.sqrt(np.asarray(fixed.variance()) / 50_000)
    assert (np.abs(samples.mean(0) - fixed.mean()) < 5 * error).all()


def test_distributions_are_safe_under_vmap():
    loc = jnp.asarray(LOC, jnp.float32)
    mapped = jax.vmap(lambda m: vp.normal_diag(m, jnp.ones(DIM)).log_prob(jnp.zeros(DIM)))(loc)
    expected = distrax.MultivariateNormalDiag(loc, jnp.ones_like(loc)).log_prob(jnp.zeros(DIM))
    np.testing.assert_allclose(mapped, expected, rtol=1e-5)
