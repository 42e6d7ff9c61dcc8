"""Hole mass where p = q, in 2 to 40 dimensions, its standard error, and its arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp
from vaepriors_jax.evaluation.latents.hole_mass import _leave_one_out

KEY = jax.random.key(0)


def population(dim, num, seed=0, scale=0.3):
    """Posteriors N(m_n, scale^2 I) whose means are such that their q(z) comes from N(0, I), and that N(0, I)."""
    loc = jnp.sqrt(1 - scale**2) * jax.random.normal(jax.random.key(seed), (num, dim))
    aggregated = vp.DiagonalMixture(jnp.full(num, -jnp.log(num)), loc, jnp.full((num, dim), scale))
    return vp.normal_diag(jnp.zeros(dim), jnp.ones(dim)), aggregated


def assert_calibrated(mass, errors=3.0):
    for part in (mass.prior_in_holes, mass.posterior_uncovered):
        assert abs(part.mean - mass.quantile) < errors * part.standard_error


@pytest.mark.parametrize("dim", [2, 10, 20, 40])
def test_hole_mass_is_the_quantile_in_any_dimension(dim):
    prior, aggregated = population(dim, 1000)
    assert_calibrated(vp.hole_mass(prior, aggregated, KEY, num_samples=2000))
    # With its own samples for the threshold it is 0.8 in 10 dimensions.
    if dim >= 10:
        own = vp.hole_mass(prior, aggregated, KEY, num_samples=1000, leave_one_out=False)
        assert own.prior_in_holes.mean > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 10, *(pytest.param(dim, marks=pytest.mark.nightly) for dim in (20, 40))])
def test_hole_mass_is_the_quantile_of_ten_thousand_examples(dim):
    assert_calibrated(vp.hole_mass(*population(dim, 10_000), KEY, num_samples=5000))


def test_the_threshold_from_held_out_encodings():
    prior, aggregated = population(20, 1000)
    held_out = prior.sample(seed=jax.random.key(7), sample_shape=1500)
    mass = vp.hole_mass(prior, aggregated, KEY, num_samples=3000, held_out=held_out)
    assert_calibrated(mass)


@pytest.mark.nightly
@pytest.mark.parametrize("dim", [2, 10, 20, 40])
def test_coverage_over_fifty_data_sets(dim):
    """Of 50 intervals of two standard errors at least 40 hold the quantile: fewer have a probability below 0.001."""
    masses = [vp.hole_mass(*population(dim, 300, seed), jax.random.key(seed), num_samples=1000) for seed in range(50)]
    for name in ("prior_in_holes", "posterior_uncovered"):
        parts = [getattr(mass, name) for mass in masses]
        held = [abs(part.mean - 0.01) < 2 * part.standard_error for part in parts]
        assert sum(bool(one) for one in held) >= 40


def test_the_error_is_not_zero_at_zero_and_one():
    narrow, wide = (vp.normal_diag(jnp.zeros(2), jnp.full(2, scale)) for scale in (0.01, 1.0))
    far = vp.normal_diag(jnp.full(2, 50.0), jnp.ones(2))
    inside = vp.hole_mass(narrow, wide, KEY, num_samples=1000).prior_in_holes
    outside = vp.hole_mass(far, wide, KEY, num_samples=1000).prior_in_holes
    assert (inside.mean, outside.mean) == (0, 1)
    # A share of 0 of 1,000 is below 0.003 with a probability of 95 %.
    for part in (inside, outside):
        assert 0.001 < part.standard_error < 0.003


def test_the_error_counts_each_example_once():
    """Of 100 examples, 1,000,000 samples of p leave the error of a quantile of 100 independent values."""
    prior, aggregated = population(2, 100)
    part = vp.hole_mass(prior, aggregated, KEY, num_samples=20_000, quantile=0.2).prior_in_holes
    assert 0.02 < part.standard_error < 0.08  # sqrt(0.2 * 0.8 / 100) = 0.04


def test_bad_arguments_are_explained():
    prior, aggregated = population(2, 100)
    z = np.zeros((10, 2), np.float32)
    for mixture, options, message in [
        (prior, {"leave_one_out": True}, "at least 2 components"),
        (aggregated, {"leave_one_out": True, "held_out": z}, "without `held_out`"),
        (aggregated, {"held_out": z * np.nan}, "finite values in `held_out`"),
        (aggregated, {"held_out": z[:, :1]}, "of one dimension"),
    ]:
        with pytest.raises(ValueError, match=message):
            vp.hole_mass(prior, mixture, KEY, num_samples=100, **options)
    vae = vp.VAE(
        lambda w, x: vp.normal_diag(x, jnp.ones(2)), lambda w, z: vp.normal_diag(z, jnp.ones(2)), vp.standard_normal(2)
    )
    with pytest.raises(ValueError, match="at least 2 examples with `leave_one_out`"):
        vp.elbo_surgery(vae, vp.VAEParams({}, {}, {}), KEY, z[:1], leave_one_out=True)
    assert vp.elbo_surgery(vae, vp.VAEParams({}, {}, {}), KEY, z).log_num_examples == pytest.approx(np.log(10))


@pytest.mark.parametrize("kernel", ["rbf", "imq"])
def test_ties_and_constants_are_no_evidence(kernel):
    """Fair coins in one dimension: the median distance is 0. And constants, with no variance at all."""
    first, second = (np.random.default_rng(i).integers(0, 2, (200, 1)).astype(np.float32) for i in (0, 1))
    rare = (np.random.default_rng(2).random((2, 200, 1)) < 0.05).astype(np.float32)
    constant = np.full((50, 3), 0.1, np.float32)
    for pair in ((first, second), rare, (constant, constant)):
        found = vp.maximum_mean_discrepancy(KEY, *pair, kernel=kernel, num_permutations=200)
        assert found.p_value > 0.05
        assert np.isfinite(found.statistic)
        assert np.isfinite(found.null_standard_error)
    assert vp.maximum_mean_discrepancy(KEY, constant, constant, kernel=kernel).p_value == 1
    for other in (constant + 1, constant + 1000):
        assert vp.maximum_mean_discrepancy(KEY, constant, other, kernel=kernel).p_value < 0.01
    skewed = (np.random.default_rng(3).random((200, 1)) < 0.8).astype(np.float32)
    assert vp.maximum_mean_discrepancy(KEY, first, skewed, kernel=kernel, num_permutations=200).p_value < 0.01


def test_no_points_have_no_densities():
    assert vp.log_prob_in_chunks(vp.normal_diag(jnp.zeros(2), jnp.ones(2)), jnp.zeros((0, 2))).shape == (0,)


def test_leaving_out_weighted_components_against_scipy():
    """The components lie far apart, so that the nearest one tells from which a z was drawn."""
    weights, num = np.array([4.0, 1.0, 0.0, 3.0, 2.0]) / 10, 4000
    loc = np.array([[0, 0], [20, 0], [0, 20], [20, 20], [-20, 5]], np.float32)
    scale = np.random.default_rng(0).uniform(0.5, 2, loc.shape).astype(np.float32)
    with np.errstate(divide="ignore"):
        mixture = vp.DiagonalMixture(*map(jnp.asarray, (np.log(weights).astype(np.float32), loc, scale)))
    z, log_q = _leave_one_out(mixture, KEY, num, 500)
    rows = np.argmin(((np.asarray(z)[:, None] - loc) ** 2).sum(-1), axis=1)
    counts = np.bincount(rows, minlength=5)
    assert counts[2] == 0
    assert scipy.stats.chisquare(counts[weights > 0], num * weights[weights > 0]).pvalue > 1e-4
    densities = scipy.stats.norm.logpdf(np.asarray(z, np.float64)[:, None], loc, scale).sum(-1)
    others = np.where(np.arange(5) == rows[:, None], 0, weights) / (1 - weights[rows])[:, None]
    np.testing.assert_allclose(log_q, scipy.special.logsumexp(densities, b=others, axis=1), rtol=1e-4)
