"""Laplace, generalised normal and Student-t priors against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vaepriors_jax as vp

LOC, SCALE = np.array([0.3, -1.0, 2.0]), np.array([0.5, 1.0, 3.0])
LOCATED = {"loc": LOC, "log_scale": np.log(SCALE)}
ALL = ("loc", "scale")


def case(name, shape):
    """A prior over 3 dimensions, its parameters, and scipy's distribution of each dimension."""
    if name == "laplace":
        return vp.laplace(3, learned=ALL), LOCATED, scipy.stats.laplace(LOC, SCALE)
    if name == "generalized_normal":
        prior = vp.generalized_normal(3, learned=(*ALL, "exponent"))
        return prior, LOCATED | {"log_exponent": np.full(3, np.log(shape))}, scipy.stats.gennorm(shape, LOC, SCALE)
    independent = name == "independent t"
    prior = vp.student_t_prior(3, independent=independent, learned=(*ALL, "df"))
    log_df = np.full((3,) * independent, np.log(shape))
    return prior, LOCATED | {"log_df": log_df}, scipy.stats.t(shape, LOC, SCALE)


CASES = [
    ("laplace", None),
    ("generalized_normal", 0.6),
    ("generalized_normal", 1.0),
    ("generalized_normal", 9.0),
    ("independent t", 0.7),
    ("independent t", 30.0),
    ("multivariate t", 1.5),
    ("multivariate t", 1e4),
]
EVERY_CASE = pytest.mark.parametrize(("name", "shape"), CASES)


def as_float32(params):
    return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), params)


@EVERY_CASE
def test_density_and_samples_are_those_of_scipy(name, shape):
    prior, params, reference = case(name, shape)
    distribution = prior.apply(as_float32(params))
    z = np.asarray(distribution.sample(seed=jax.random.key(0), sample_shape=20_000), np.float64)
    points = z[:50]
    expected = reference.logpdf(points).sum(-1)
    if name == "multivariate t":
        expected = scipy.stats.multivariate_t(LOC, np.diag(SCALE**2), df=shape).logpdf(points)
    np.testing.assert_allclose(distribution.log_prob(points.astype(np.float32)), expected, rtol=1e-4, atol=3e-5)
    # The dimensions are marginally those of scipy: frequencies within 5 standard errors.
    for probability in (0.01, 0.2, 0.5, 0.9, 0.999):
        below = (z < reference.ppf(probability)).mean(0)
        assert np.abs(below - probability).max() < 5 * np.sqrt(probability * (1 - probability) / len(z))


@EVERY_CASE
def test_moments_are_those_of_scipy(name, shape):
    prior, params, reference = case(name, shape)
    distribution = prior.apply(as_float32(params))
    if shape != 0.7:
        np.testing.assert_allclose(distribution.mean(), reference.mean(), rtol=1e-5)
    finite = np.isfinite(reference.var())
    np.testing.assert_allclose(np.asarray(distribution.variance())[finite], reference.var()[finite], rtol=1e-4)
    assert not np.isfinite(np.asarray(distribution.variance())[~finite]).any()


@EVERY_CASE
def test_start_from_data_finds_the_parameters(name, shape):
    prior, params, reference = case(name, shape)
    if name == "multivariate t":
        reference = scipy.stats.multivariate_t(LOC, np.diag(SCALE**2), df=shape, seed=0)
        z = reference.rvs(20_000)
    else:
        z = reference.rvs((20_000, 3), random_state=np.random.default_rng(0))
    found = vp.init_from_data(prior, jax.random.key(0), z=z)
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, prior.init(jax.random.key(0)))
    np.testing.assert_allclose(found["loc"], LOC, atol=0.08 * SCALE.max())
    # Quantiles tell little of a shape that is far from where it matters.
    tolerance = 0.25 if shape in (9.0, 30.0) else 0.1
    np.testing.assert_allclose(found["log_scale"], params["log_scale"], atol=tolerance)
    for entry in ("log_exponent", "log_df"):
        if entry in params and shape < 9:
            np.testing.assert_allclose(found[entry], params[entry], atol=0.15)
        elif entry in params:
            assert (np.exp(found[entry]) > 6).all()


def test_entries_that_are_not_learned_are_no_parameters_and_stay():
    prior = vp.student_t_prior(2, df=3.0, learned=("scale",))
    params = vp.init_from_data(prior, jax.random.key(0), z=np.random.default_rng(0).standard_t(3, (5000, 2)) * 4 + 9)
    assert params.keys() == {"log_scale"}
    np.testing.assert_allclose(prior.apply(params).mean(), [0, 0])
    assert vp.laplace(2).init(jax.random.key(0)) == {}
    with pytest.raises(ValueError, match="can start from data"):
        vp.init_from_data(vp.laplace(2), jax.random.key(0), z=np.zeros((5, 2)))


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 4.0])
def test_derivatives_at_the_peak_are_zero(exponent):
    """There and beside it all derivatives are finite; in the exponent that of the peak's height remains."""
    prior = vp.generalized_normal(1, exponent=exponent, learned=("loc", "scale", "exponent"))
    density = jax.grad(lambda params, z: prior.apply(params).log_prob(z), argnums=(0, 1))
    params = prior.init(jax.random.key(0))
    gradient, slope = density(params, jnp.zeros(1))
    assert slope == 0
    assert gradient["loc"] == 0
    step = 1e-4
    height = [scipy.stats.gennorm.logpdf(0, exponent * np.exp(h)) for h in (step, -step)]
    np.testing.assert_allclose(gradient["log_exponent"], (height[0] - height[1]) / (2 * step), rtol=1e-3, atol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(density(params, jnp.full(1, 1e-20))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vp.laplace(0), "`dim` to be an integer >= 1; got 0"),
        (lambda: vp.laplace(2, learned=("df",)), r"`learned` to hold each of loc, scale at most once; got \('df',\)"),
        (lambda: vp.laplace(2, learned="loc"), "at most once; got 'loc'"),
        (lambda: vp.student_t_prior(2, learned=("df", "df")), "each of loc, scale, df at most once"),
        (lambda: vp.student_t_prior(2, df=-1.0), "`df` to be a finite number > 0; got -1.0"),
        (lambda: vp.generalized_normal(2, exponent=0.0), "`exponent` to be a finite number > 0; got 0.0"),
        (lambda: vp.laplace(2, learned=("loc",)).init_from_data(None, z=np.zeros((5, 3))), r"`z` of shape \[N, 2\]"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
