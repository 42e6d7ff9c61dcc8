"""The wrapped normal distribution on hyperbolic space against scipy, and against the hyperboloid in all coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vaepriors_jax as vp
from vaepriors_jax.distributions.wrapped_normal import arcsinh_ratio, boost, boost_back

KEY = jax.random.key(0)
LOC, SCALE = np.array([1.5, -2.0, 0.7]), np.array([0.4, 0.8, 0.6])


def lorentz(a, b):
    return np.sum(a[..., 1:] * b[..., 1:], -1) - a[..., 0] * b[..., 0]


def lifted(z):
    return np.concatenate([np.sqrt(1 + np.sum(z**2, -1, keepdims=True)), z], -1)


def log_density(z, loc, scale):
    """Algorithm 2 of Nagano et al. in float64: logarithm at the centre, transport to the origin; then over z_0."""
    point, centre, origin = lifted(z), lifted(loc), lifted(np.zeros_like(loc))
    alpha = -lorentz(centre, point)
    tangent = (np.arccosh(alpha) / np.sqrt(alpha**2 - 1))[:, None] * (point - alpha[:, None] * centre)
    factor = lorentz(origin + lorentz(centre, origin) * centre, tangent) / (1 - lorentz(centre, origin))
    moved = tangent + factor[:, None] * (centre + origin)
    length = np.sqrt(lorentz(tangent, tangent))
    np.testing.assert_allclose(moved[:, 0], 0, atol=1e-9)
    normal = scipy.stats.norm.logpdf(moved[:, 1:], 0, scale).sum(-1)
    return normal - (len(loc) - 1) * np.log(np.sinh(length) / length) - np.log(point[:, 0])


def test_density_is_that_of_the_paper_in_all_coordinates():
    q = vp.wrapped_normal(jnp.asarray(LOC, jnp.float32), jnp.asarray(SCALE, jnp.float32))
    z = np.asarray(q.sample(seed=KEY, sample_shape=200))
    np.testing.assert_allclose(
        jax.jit(q.log_prob)(z), log_density(z.astype(np.float64), LOC, SCALE), rtol=3e-4, atol=3e-4
    )


def test_samples_have_the_distances_and_logarithms_of_a_normal():
    q = vp.wrapped_normal(jnp.asarray(LOC, jnp.float32), jnp.full(3, 0.7))
    z = lifted(np.asarray(q.sample(seed=KEY, sample_shape=5000), np.float64))
    distance = np.arccosh(-lorentz(z, lifted(LOC)))
    assert scipy.stats.kstest(distance / 0.7, scipy.stats.chi(3).cdf).pvalue > 1e-4


@pytest.mark.parametrize(("loc", "scale"), [(0.0, 1.0), (30.0, 0.2), (-2.0, 2.0)])
def test_on_a_line_it_is_johnson_s_distribution(loc, scale):
    """There arsinh(z) is a normal variable with the mean arsinh(loc)."""
    q, reference = (
        vp.wrapped_normal(jnp.array([loc]), jnp.array([scale])),
        scipy.stats.johnsonsu(-np.arcsinh(loc) / scale, 1 / scale),
    )
    z = np.asarray(q.sample(seed=KEY, sample_shape=5000))
    np.testing.assert_allclose(jax.jit(q.log_prob)(z[:50]), reference.logpdf(z[:50, 0].astype(np.float64)), rtol=1e-3)
    assert scipy.stats.kstest(z[:, 0], reference.cdf).pvalue > 1e-4


def test_boosts_are_inverse_and_keep_digits_far_out():
    loc = jnp.array([300.0, -400.0])  # at the distance 6.9
    v = jax.random.normal(KEY, (20, 2))
    np.testing.assert_allclose(boost_back(loc, boost(loc, v)), v, atol=2e-3)
    square = np.array([0.0, 1e-20, 1e-4, 0.09999, 0.10001, 4.0, 1e10])
    x = np.sqrt(np.maximum(square, 1e-30))
    with jax.enable_x64(True):
        np.testing.assert_allclose(arcsinh_ratio(jnp.asarray(square)), np.arcsinh(x) / x, rtol=1e-14)


def test_gradients_are_finite_at_the_centre():
    def log_prob(loc, z):
        return vp.wrapped_normal(loc, jnp.ones(2)).log_prob(z)

    for loc in (jnp.zeros(2), jnp.array([1.0, -2.0])):
        gradient = jax.jit(jax.grad(log_prob, (0, 1)))(loc, loc)
        assert all(np.isfinite(leaf).all() for leaf in gradient)
        # Only log z_0 has a slope there.
        np.testing.assert_allclose(gradient[1], -loc / (1 + loc @ loc), atol=1e-5)


def test_start_from_data():
    q = vp.wrapped_normal(jnp.asarray(LOC, jnp.float32), jnp.asarray(SCALE, jnp.float32))
    z = q.sample(seed=KEY, sample_shape=20_000)
    params = vp.init_from_data(vp.wrapped_normal_prior(3, learned=("loc", "scale")), KEY, z=z)
    np.testing.assert_allclose(params["loc"], LOC, atol=0.1)
    np.testing.assert_allclose(np.exp(params["log_scale"]), SCALE, rtol=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vp.wrapped_normal_prior(0), "`dim` to be an integer >= 1; got 0"),
        (lambda: vp.wrapped_normal_prior(2, learned=("df",)), "each of loc, scale at most once"),
        (lambda: vp.wrapped_normal(jnp.zeros((5, 2)), jnp.ones((5, 2))), r"got shape \[5, 2\]"),
        (lambda: vp.wrapped_normal(jnp.zeros(2), jnp.zeros(2)), "`scale` > 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
