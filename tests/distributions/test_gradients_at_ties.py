"""Gradients at points where a formula switches, which random points never hit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import vaepriors_jax as vp
from vaepriors_jax.flows.spline_coupling import make_knots, spline_forward, spline_inverse

BOUND, NUM_BINS = 5.0, 4
SPLINE_RAW = np.random.default_rng(0).normal(size=(1, 3 * NUM_BINS - 1)).astype(np.float32)


@pytest.mark.parametrize("num_bins", [2, 3, 8])
def test_flow_prior_that_starts_as_the_identity_has_the_gradient_of_its_base_at_zero(num_bins):
    """z = 0 is a knot for every even number of bins."""
    base = vp.from_distribution(vp.normal_diag(jnp.ones(2), jnp.ones(2)))
    prior = vp.transformed(base, vp.spline_coupling(2, num_bins=num_bins))
    log_prob = prior.apply(prior.init(jax.random.key(0))).log_prob

    @jax.jit
    def derivatives(z):
        return jax.jacfwd(lambda z: (jax.grad(log_prob)(z),) * 2, has_aux=True)(z)

    for z in (0.0, -5.0, 5.0, 1.25):
        point = jnp.full(2, z)
        hessian, gradient = derivatives(point)
        np.testing.assert_allclose(gradient, 1 - point, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(hessian, -np.eye(2), atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_spline_at_its_knots_has_the_derivatives_of_the_bin_beside_them(direction):
    """The slope is that of the knot; what jumps there (second derivatives) is that of one of the two sides."""
    with jax.enable_x64():
        raw = jnp.asarray(SPLINE_RAW, jnp.float64)
        knots = make_knots(raw, BOUND)
        spline = spline_forward if direction == "forward" else spline_inverse
        positions, slopes = (knots.x, knots.slope) if direction == "forward" else (knots.y, 1 / knots.slope)

        @jax.jit
        def derivatives(u):
            def value(raw, u):
                return spline(raw, u[None], BOUND)[0][0]

            def log_slope(raw, u):
                return spline(raw, u[None], BOUND)[1][0]

            parts = [jax.grad(f, argnums=(0, 1))(raw, u) for f in (value, log_slope)]
            second = [jax.grad(jax.grad(f, argnums=1), argnums=1)(raw, u) for f in (value, log_slope)]
            return *parts[0], *parts[1], *second

        for i in range(NUM_BINS + 1):
            at, below, above = (derivatives(positions[0, i] + shift) for shift in (0.0, -1e-9, 1e-9))
            np.testing.assert_allclose(at[1], slopes[0, i], rtol=1e-10)
            sides = [
                all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in zip(at, s, strict=True)) for s in (below, above)
            ]
            assert any(sides), (i, at, below, above)


def _student_t_by_df(df, square):
    """The log-density's derivative in df at scale 1, in float64; with a series of the digammas where they cancel."""
    half, ratio = df / 2, square / df
    if df < 1e3:
        step = scipy.special.digamma(half + 0.5) - scipy.special.digamma(half) - 0.5 / half
    else:
        step = 1 / (8 * half**2) - 1 / (64 * half**4)
    log_minus_fraction = ratio**2 / 2 * scipy.special.hyp2f1(2, 2, 3, -ratio)  # log1p(r) - r / (1 + r)
    return 0.5 * (step - log_minus_fraction + ratio / (1 + ratio) / df)


@pytest.mark.parametrize("df", [0.01, 0.1, 0.5, 1.0, 2.0, 5.0, 15.9, 15.999999, 16.0, 16.000002, 17.0, 100.0, 1e4, 1e6])
def test_student_t_has_the_right_gradient_in_its_degrees_of_freedom(df):
    df = float(np.float32(df))
    values = np.array([0.0, 0.3, 1.0, np.sqrt(0.1 * df), 3.0, 50.0], np.float32)
    found = jax.vmap(jax.grad(lambda df, x: vp.student_t(df, jnp.zeros(1), 1.0).log_prob(x[None])), in_axes=(None, 0))(
        jnp.float32(df), jnp.asarray(values)
    )
    expected = [_student_t_by_df(df, float(value) ** 2) for value in values]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.max(np.abs(expected)))


def test_student_t_samples_overflow_only_where_float32_ends():
    """With df 0.1, P(|x| > 3.4e38) is 1.2e-4; a sampler that squares x first loses 1.2e-2."""
    samples = vp.student_t(0.1, jnp.zeros(100_000), 1.0).sample(seed=jax.random.key(0))
    assert not np.any(np.isnan(samples))
    expected = 2 * scipy.stats.t(0.1).sf(float(np.finfo(np.float32).max))
    lost = np.mean(np.isinf(samples))
    assert lost < 1.3 * expected + 5 * np.sqrt(expected / 100_000), (lost, expected)
    quantiles = np.quantile(np.log(np.abs(samples[np.isfinite(samples)])), [0.25, 0.5, 0.75])
    exact = np.log(scipy.stats.t(0.1).ppf(0.5 + np.array([0.25, 0.5, 0.75]) / 2))
    np.testing.assert_allclose(quantiles, exact, atol=0.15)
