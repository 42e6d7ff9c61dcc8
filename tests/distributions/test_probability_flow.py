"""The density of an ODE, where it is known, and its samples."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from vaepriors_jax.distributions import probability_flow
from vaepriors_jax.distributions.probability_flow import ProbabilityFlow, Solver

KEY = jax.random.key(0)
BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
MEAN, VARIANCES = np.array([1.0, -2.0, 0.5]), np.array([0.05, 1.0, 4.0])
GAUSSIAN = scipy.stats.multivariate_normal(MEAN, BASIS @ np.diag(VARIANCES) @ BASIS.T)


@dataclass(frozen=True)
class OfGaussian:
    """The mean velocity of the path from N(0, I) to the Gaussian at u: that of a linear regression on u."""

    path: str

    def __call__(self, params, t, u):
        mean, basis, variances = params
        if self.path == "linear":
            a, b, of_data, of_noise = t, 1 - t, 1.0, -1.0
        else:
            a, b = jnp.sin(jnp.pi / 2 * t), jnp.cos(jnp.pi / 2 * t)
            of_data, of_noise = jnp.pi / 2 * b, -jnp.pi / 2 * a
        slopes = (of_data * a * variances + of_noise * b) / (a**2 * variances + b**2)
        return of_data * mean + basis @ (slopes * (basis.T @ (u - a * mean)))


def of_gaussian(path, tolerance=1e-6, dtype=jnp.float32, **options):
    params = tuple(jnp.asarray(value, dtype) for value in (MEAN, BASIS, VARIANCES))
    return ProbabilityFlow(
        Solver(OfGaussian(path), tolerance), params, jnp.zeros(3, dtype), jnp.ones(3, dtype), **options
    )


@pytest.fixture(autouse=True)
def _needs_diffrax(request):
    if "without_diffrax" not in request.node.name:
        pytest.importorskip("diffrax")


@pytest.mark.parametrize("path", ["linear", "cosine"])
def test_density_of_a_linear_velocity_is_that_of_its_gaussian(path):
    z = GAUSSIAN.rvs(200, random_state=1)
    found = jax.jit(of_gaussian(path).log_prob)(jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(found, GAUSSIAN.logpdf(z), atol=2e-5)


def test_tolerance_bounds_the_error():
    z = GAUSSIAN.rvs(100, random_state=1)
    with jax.enable_x64(True):
        errors = [
            np.abs(jax.jit(of_gaussian("linear", tol, jnp.float64).log_prob)(z) - GAUSSIAN.logpdf(z)).max()
            for tol in (1e-4, 1e-9)
        ]
    assert errors[0] < 1e-2
    assert errors[1] < 1e-7


def test_samples_are_those_of_the_gaussian():
    z = jax.jit(lambda key: of_gaussian("cosine", 1e-4).sample(seed=key, sample_shape=(2000,)))(KEY)
    whitened = (np.asarray(z) - MEAN) @ BASIS / np.sqrt(VARIANCES)
    assert min(scipy.stats.kstest(whitened.T, "norm", axis=1).pvalue) > 1e-3
    assert np.abs(np.corrcoef(whitened.T) - np.eye(3)).max() < 5 / np.sqrt(2000)


def test_probes_estimate_the_divergence_without_bias():
    """All 8 vectors of signs have the trace as the mean of v^T J v; one alone has not."""
    signs = jnp.stack(jnp.meshgrid(*[jnp.array([-1.0, 1.0])] * 3), axis=-1).reshape(8, 3)
    z = GAUSSIAN.rvs(20, random_state=1)
    found = jax.jit(of_gaussian("linear", probes=signs).log_prob)(jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(found, GAUSSIAN.logpdf(z), atol=5e-5)
    one = jax.jit(of_gaussian("linear", probes=signs[:1]).log_prob)(jnp.asarray(z, jnp.float32))
    assert np.abs(one - GAUSSIAN.logpdf(z)).max() > 0.1


def test_location_scale_and_normalizer():
    with_loc = ProbabilityFlow(
        Solver(OfGaussian("linear"), 1e-6),
        tuple(jnp.asarray(value, jnp.float32) for value in (MEAN, BASIS, VARIANCES)),
        jnp.array([1.0, 2.0, 3.0]),
        jnp.array([0.5, 1.0, 3.0]),
        normalizer=2.0,
    )
    z = jnp.array([1.2, 0.5, 3.0])
    expected = GAUSSIAN.logpdf((z - with_loc.loc) / with_loc.scale) - np.log(1.5) - np.log(2.0)
    np.testing.assert_allclose(with_loc.log_prob(z), expected, atol=2e-5)


def test_infinity_has_no_density_and_nan_gives_nan():
    """Beside a finite z, whose density and gradient stay what they are alone."""
    z = jnp.array([[np.inf, 0, 0], [-np.inf, 1, np.inf], [np.nan, 0, 0], [np.inf, np.nan, 0], [0.5, -2, 0]])
    flow = of_gaussian("linear", 1e-4)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(flow.log_prob)))(z)
    np.testing.assert_array_equal(values[:4], [-np.inf, -np.inf, np.nan, np.nan])
    np.testing.assert_allclose(values[4], GAUSSIAN.logpdf(z[4]), atol=1e-2)
    assert np.isfinite(gradients[4]).all()


def test_nan_where_the_solver_takes_too_many_steps(monkeypatch):
    monkeypatch.setattr(probability_flow, "MOST_STEPS", 2)
    assert np.isnan(of_gaussian("linear").log_prob(jnp.zeros(3)))


def test_without_diffrax_it_says_how_to_install_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(probability_flow.importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"pip install 'vaepriors_jax\[diffrax\]'"):
        of_gaussian("linear").log_prob(jnp.zeros(3))
