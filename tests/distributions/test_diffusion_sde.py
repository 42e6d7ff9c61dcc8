"""The SDE of a diffusion: its bound beside the exact log-density of Gaussians and mixtures, and its samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import vaepriors_jax as vp
from tests.cases import ODE_STATE, perturbed
from vaepriors_jax.distributions.diffusion_sde import LAST_ANGLE, DiffusionSDE
from vaepriors_jax.distributions.probability_flow import ProbabilityFlow, Solver

KEY = jax.random.key(0)
MEAN, VARIANCE = 0.7, 0.2  # of a Gaussian in one dimension
Z = np.array([-0.4, 0.7, 1.9])


def slope_and_offset(angle, factor, shift):
    """w = slope u + offset, `factor` times that of the Gaussian plus a shift: u_1 cos - noise sin regressed on u."""
    sine, cosine = np.sin(angle), np.cos(angle)
    slope = (VARIANCE - 1) * sine * cosine / (VARIANCE * sine**2 + cosine**2)
    return factor * slope, factor * MEAN * (cosine - slope * sine) + shift


def of_gaussian(factor=1.0, shift=0.0, **options):
    def velocity(t, u):
        angle = np.pi / 2 * t
        sine, cosine = jnp.sin(angle), jnp.cos(angle)
        slope = (VARIANCE - 1) * sine * cosine / (VARIANCE * sine**2 + cosine**2)
        return np.pi / 2 * (factor * (slope * u + MEAN * (cosine - slope * sine)) + shift)

    return DiffusionSDE(velocity, jnp.zeros(1), jnp.ones(1), **options)


def end_of_sde(*wrong):
    """Mean and variance of the SDE's end, by the ODEs of its moments."""

    def change(angle, moments):
        slope, offset = slope_and_offset(angle, *wrong)
        rate, diffusion = 2 * slope - 1 / np.tan(angle), 2 / np.tan(angle)
        return [rate * moments[0] + 2 * offset, 2 * rate * moments[1] + diffusion]

    first = 1e-4  # before it the SDE forgets its start
    solved = scipy.integrate.solve_ivp(change, (first, LAST_ANGLE), [0.0, 1.0], rtol=1e-9, atol=1e-11, method="LSODA")
    mean, variance = solved.y[:, -1]
    slope, offset = slope_and_offset(LAST_ANGLE, *wrong)
    gain = np.sin(LAST_ANGLE) + np.cos(LAST_ANGLE) * slope
    return gain * mean + np.cos(LAST_ANGLE) * offset, gain**2 * variance + np.cos(LAST_ANGLE) ** 2


def expected_bound(u, *wrong):
    """The bound by quadrature, as the variational bound of a chain: a reconstruction minus a path's KL."""

    def squared_error(angle):  # of w, in the mean over noise
        slope, offset = slope_and_offset(angle, *wrong)
        sine, cosine = np.sin(angle), np.cos(angle)
        return (u * (cosine - slope * sine) - offset) ** 2 + (sine + slope * cosine) ** 2

    kl, _ = scipy.integrate.quad(lambda angle: np.tan(angle) * squared_error(angle), 0, LAST_ANGLE, limit=200)
    width = np.cos(LAST_ANGLE)
    return -0.5 * np.log(2 * np.pi * width**2) - 0.5 * squared_error(LAST_ANGLE) - kl


def bounds(make, z, count):
    """Mean and standard error over keys of the bound at z [N, dim]."""
    keys = jax.random.split(KEY, count)
    found = np.asarray(jax.jit(jax.vmap(lambda key: make(key).log_prob(z)))(keys), np.float64)
    return found.mean(0), found.std(0, ddof=1) / np.sqrt(count)


def test_without_a_velocity_it_is_the_normal_log_density_for_every_noise():
    loc, scale = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    sde = DiffusionSDE(lambda t, u: jnp.zeros_like(u), loc, scale, key=KEY, num_times=2)
    z = np.random.default_rng(0).normal(size=(3, 4, 2))
    expected = scipy.stats.norm.logpdf(z, loc, scale).sum(-1)
    np.testing.assert_allclose(sde.log_prob(jnp.asarray(z, jnp.float32)), expected, rtol=1e-5)


@pytest.mark.parametrize(("factor", "shift"), [(1.0, 0.0), (0.7, 0.0), (1.3, 0.0), (0.9, 0.5)])
def test_bound_is_that_of_quadrature_and_below_the_log_density_of_the_sde(factor, shift):
    """With the exact score it is equal to log N, up to what the last Gaussian step costs; with another it is lower."""
    end_mean, end_variance = end_of_sde(factor, shift)
    exact = scipy.stats.norm.logpdf(Z, end_mean, np.sqrt(end_variance))
    expected = np.array([expected_bound(u, factor, shift) for u in Z])
    mean, error = bounds(lambda key: of_gaussian(factor, shift, key=key, num_times=16), jnp.asarray(Z)[:, None], 20_000)
    assert np.all(np.abs(mean - expected) < 5 * error)
    assert np.all(error < 0.02)
    assert np.all(mean < exact + 5 * error)
    if factor == 1:
        np.testing.assert_allclose(exact, scipy.stats.norm.logpdf(Z, MEAN, np.sqrt(VARIANCE)), atol=2e-5)
        assert np.all((expected < exact) & (expected > exact - 1e-3))
    else:
        assert np.all(expected < exact - 0.002)


MIXTURE = [(0.3, np.array([-1.0, 0.5]), 0.05), (0.7, np.array([0.6, -0.4]), 0.4)]  # weights, means, variances


def log_mixture(u):
    normals = [scipy.stats.multivariate_normal(mean, variance * np.eye(2)) for _, mean, variance in MIXTURE]
    return np.log(sum(weight * one.pdf(u) for (weight, _, _), one in zip(MIXTURE, normals, strict=True)))


def mixture_velocity(t, u):
    """The mean velocity of the path to the mixture: w = (score + u) tan, from the score of the noisy mixture."""
    sine, cosine = jnp.sin(jnp.pi / 2 * t), jnp.cos(jnp.pi / 2 * t)

    def log_density(u):
        logs = []
        for weight, mean, variance in MIXTURE:
            noisy = sine**2 * variance + cosine**2
            logs.append(jnp.log(weight / noisy) - 0.5 * jnp.sum((u - sine * mean) ** 2) / noisy)
        return jax.nn.logsumexp(jnp.stack(logs))

    # At t = 0 the score is -u; a floor keeps 0 / 0 away.
    return jnp.pi / 2 * (jax.grad(log_density)(u) + u) * cosine / jnp.maximum(sine, 1e-3)


def of_mixture(**options):
    return DiffusionSDE(mixture_velocity, jnp.zeros(2), jnp.ones(2), **options)


def test_bound_of_the_exact_score_of_a_mixture_is_its_log_density():
    z = np.array([[-1.0, 0.5], [-0.8, 0.8], [0.6, -0.4], [-0.3, 0.1], [1.5, 0.5]])
    mean, error = bounds(lambda key: of_mixture(key=key, num_times=8), jnp.asarray(z), 20_000)
    assert np.all(np.abs(mean - log_mixture(z)) < 5 * error + 5e-3)
    assert np.all(error < 0.03)


def test_gradient_of_the_bound_is_without_bias():
    """In its mean over keys that of log N, since the bound with the exact score is log N."""
    keys = jax.random.split(KEY, 20_000)

    def bound(u, key):
        return of_gaussian(key=key, num_times=8).log_prob(u[None])

    found = np.asarray(jax.jit(jax.vmap(jax.vmap(jax.grad(bound), (0, None)), (None, 0)))(jnp.asarray(Z), keys))
    error = found.std(0, ddof=1) / np.sqrt(len(keys))
    assert np.all(np.abs(found.mean(0) + (Z - MEAN) / VARIANCE) < 5 * error + 5e-3)
    assert np.all(error < 0.05)


def mixture_cdf(values, axis):
    return sum(weight * scipy.stats.norm.cdf(values, mean[axis], np.sqrt(var)) for weight, mean, var in MIXTURE)


def test_samples_of_the_exact_score_are_those_of_the_mixture():
    """By Kolmogorov and Smirnov on each axis, and by moments."""
    z = np.asarray(jax.jit(lambda: of_mixture(num_steps=300).sample(seed=KEY, sample_shape=4000))(), np.float64)
    for axis in range(2):
        assert scipy.stats.kstest(z[:, axis], lambda values, axis=axis: mixture_cdf(values, axis)).pvalue > 1e-3
    mean = sum(weight * mean for weight, mean, _ in MIXTURE)
    second = sum(w * (np.outer(m, m) + var * np.eye(2)) for w, m, var in MIXTURE)
    products = z[:, :, None] * z[:, None, :]
    assert np.all(np.abs(z.mean(0) - mean) < 5 * z.std(0) / np.sqrt(4000))
    assert np.all(np.abs(products.mean(0) - second) < 5 * products.std(0) / np.sqrt(4000))


@pytest.mark.parametrize(("factor", "shift"), [(0.7, 0.0), (0.9, 0.5)])
def test_samples_of_another_velocity_are_those_of_the_sde_and_not_of_the_ode(factor, shift):
    """Where the velocity is not that of a Gaussian, moments are those of the SDE, up to an error of the steps."""
    mean, variance = end_of_sde(factor, shift)
    z = jax.jit(lambda: of_gaussian(factor, shift, num_steps=400).sample(seed=KEY, sample_shape=20_000))()
    found = scipy.stats.kstest(np.asarray(z)[:, 0], scipy.stats.norm(mean, np.sqrt(variance)).cdf)
    assert found.pvalue > 1e-3

    def change(angle, state):  # of the ODE: du = w, from which the log of the standard deviation grows by the slope
        slope, offset = slope_and_offset(angle, factor, shift)
        return [slope * state[0] + offset, slope]

    of_ode = scipy.integrate.solve_ivp(change, (0, np.pi / 2), [0.0, 0.0], rtol=1e-9, atol=1e-11).y[:, -1]
    assert scipy.stats.kstest(np.asarray(z)[:, 0], scipy.stats.norm(of_ode[0], np.exp(of_ode[1])).cdf).pvalue < 1e-6


def test_samples_of_no_velocity_are_normal_in_one_step():
    sde = DiffusionSDE(lambda t, u: jnp.zeros_like(u), jnp.array([1.0]), jnp.array([2.0]), num_steps=1)
    z = np.asarray(sde.sample(seed=KEY, sample_shape=4000))[:, 0]
    assert scipy.stats.kstest(z, scipy.stats.norm(1, 2).cdf).pvalue > 1e-3


def test_sample_sde_of_a_flow_has_its_location_scale_and_shape():
    params = perturbed(vp.flow_matching(2, hidden=(8,), path="cosine").init(KEY), jax.random.key(1))
    moved = params | {"loc": params["loc"] + 3, "log_scale": params["log_scale"] + jnp.log(2.0)}

    def sample(params, **options):
        flow = vp.flow_matching(2, hidden=(8,), path="cosine").apply(params, **ODE_STATE)
        return flow.sample_sde(seed=KEY, sample_shape=(2, 3), **options)

    at = sample(params, num_steps=20)
    assert at.shape == (2, 3, 2)
    np.testing.assert_allclose(sample(moved, num_steps=20), params["loc"] + 3 + 2 * (at - params["loc"]), rtol=1e-4)
    assert np.abs(sample(params, num_steps=40) - at).max() > 0.1  # other noise
    with pytest.raises(ValueError, match="`num_steps` to be an integer >= 1"):
        sample(params, num_steps=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bound_and_samples_keep_their_dtype(dtype):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("strict"):
        zeros, ones = jnp.zeros(2, dtype), jnp.ones(2, dtype)
        sde = DiffusionSDE(lambda t, u: 0.5 * u, zeros, ones, key=KEY, num_times=3, num_steps=3)
        value, sample = sde.log_prob(ones), sde.sample(seed=KEY)
    assert value.dtype == sample.dtype == dtype


def test_values_that_are_not_finite():
    z = jnp.array([[np.inf, 0.0], [-np.inf, 1.0], [np.nan, 0.0], [np.inf, np.nan], [np.inf, -np.inf]])
    np.testing.assert_array_equal(of_mixture(key=KEY).log_prob(z), [-np.inf, -np.inf, np.nan, np.nan, -np.inf])


def test_no_key_and_no_diffusion():
    with pytest.raises(TypeError, match="a key for the times"):
        of_mixture().log_prob(jnp.zeros(2))
    flow = ProbabilityFlow(Solver(lambda params, t, u: u, 1e-3), {}, jnp.zeros(2), jnp.ones(2))
    with pytest.raises(TypeError, match="velocity of a variance-preserving diffusion"):
        flow.sde()
