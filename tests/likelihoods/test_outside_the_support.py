"""Values that a likelihood gives no probability, where no check of a data set comes first."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp

# Each as a function of three parameters, with values outside the support; 0 is inside each.
LIKELIHOODS = {
    "bernoulli": (vp.bernoulli, [-1.0, 0.5, 2.0]),
    "continuous_bernoulli": (vp.continuous_bernoulli, [-0.1, 1.1]),
    "discretized_logistic": (lambda a: vp.discretized_logistic(a, jnp.exp(a), 4), [-1.0, 2.0]),
    "discretized_logistic_mixture": (
        lambda a: vp.discretized_logistic_mixture(*jnp.stack([a, a, jnp.exp(a)])[..., None], 4),
        [-1.0, 2.0],
    ),
    "coupled": (
        lambda a: vp.discretized_logistic_mixture(
            jnp.zeros((1, 1)), a[None, :, None], jnp.exp(a)[None, :, None], 4, coefficients=jnp.zeros((1, 3, 1))
        ),
        [-1.0, 2.0],
    ),
    "categorical_levels": (lambda a: vp.categorical_levels(jnp.stack([a, -a, 2 * a, a], axis=-1)), [-1.0, 2.0]),
    "binomial_levels": (lambda a: vp.binomial_levels(a, 4), [-1.0, 2.0]),
    "poisson": (lambda a: vp.poisson(jnp.exp(a)), [-1.0, 0.5]),
    "negative_binomial": (lambda a: vp.negative_binomial(jnp.exp(a), jnp.exp(-a)), [-2.0, 1.5]),
    "zero_inflated": (lambda a: vp.zero_inflated(vp.poisson(jnp.exp(a)), a), [-1.0, 0.5]),
}
PARAMETERS = jnp.array([-0.3, 0.4, 0.2])


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_probability_zero_and_nan(name):
    likelihood, outside = LIKELIHOODS[name]

    def example(value):
        x = jnp.zeros(3).at[1].set(value)
        return x[None] if name == "coupled" else x

    @jax.jit
    def log_prob(parameters, x):
        return likelihood(parameters).log_prob(x)

    assert np.isfinite(log_prob(PARAMETERS, example(0.0)))
    for value in [*outside, np.inf, -np.inf]:
        assert log_prob(PARAMETERS, example(value)) == -np.inf, value
        assert np.isfinite(jax.grad(log_prob)(PARAMETERS, example(value))).all(), value
    assert np.isnan(log_prob(PARAMETERS, example(np.nan)))


@pytest.mark.parametrize("name", ["categorical_levels", "binomial_levels", "discretized_logistic"])
def test_integers_outside_the_levels(name):
    likelihood = LIKELIHOODS[name][0](PARAMETERS)
    assert np.isfinite(likelihood.log_prob(np.array([0, 3, 1], np.uint8)))
    assert likelihood.log_prob(np.array([0, 4, 1], np.uint8)) == -np.inf
    assert likelihood.log_prob(np.array([0, -1, 1], np.int8)) == -np.inf
