"""The autoregressive prior: order of dimensions, start from data, conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from tests.cases import perturbed

KEY = jax.random.key(0)


def test_each_conditional_reads_the_dimensions_before_it():
    prior = vp.autoregressive_mixture(4, 3, hidden=(16, 16))
    distribution = prior.apply(perturbed(prior.init(KEY), jax.random.key(1)))
    jacobian = jax.jit(jax.vmap(jax.jacfwd(distribution.conditional_log_prob)))(jax.random.normal(KEY, (20, 4)))
    np.testing.assert_array_equal(np.abs(jacobian).max(0) > 0, np.tril(np.ones((4, 4), bool)))


def test_starts_with_independent_dimensions_at_the_modes_of_the_data():
    z = np.random.default_rng(0).choice([[-4.0, 10.0], [4.0, 20.0]], 2000, axis=0)
    z = z + 0.5 * np.random.default_rng(1).normal(size=z.shape)
    prior = vp.autoregressive_mixture(2, 2, hidden=(8,))
    params = vp.init_from_data(prior, KEY, z=z)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, prior.init(KEY))
    np.testing.assert_allclose(np.sort(params["loc"]), [[-4, 4], [10, 20]], atol=0.1)
    np.testing.assert_allclose(np.exp(params["log_scale"]), 0.5, atol=0.05)
    first, second = (prior.apply(params).log_prob(jnp.array([-4.0, high])) for high in (10.0, 20.0))
    np.testing.assert_allclose(first, second, atol=0.2)


def test_reads_a_label_in_every_dimension():
    prior = vp.autoregressive_mixture(2, 2, hidden=(8,), num_classes=3, condition="kind")
    params = perturbed(prior.init(KEY), jax.random.key(1))
    terms = [prior.apply(params, kind=kind).conditional_log_prob(jnp.zeros(2)) for kind in (0, 2)]
    assert (np.abs(terms[0] - terms[1]) > 1e-3).all()
    with pytest.raises(TypeError, match="'kind'"):
        prior.apply(params)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vp.autoregressive_mixture(0), "`dim` to be an integer >= 1; got 0"),
        (lambda: vp.autoregressive_mixture(2, 0), "`num_components` to be an integer >= 1; got 0"),
        (lambda: vp.autoregressive_mixture(2, initial_spread=0.0), "`initial_spread` to be a finite number > 0"),
        (lambda: vp.autoregressive_mixture(2, num_classes=2, condition_dim=2), "one of the two"),
        (lambda: vp.autoregressive_mixture(2).init_from_data(KEY, z=np.zeros((9, 3))), r"`z` of shape \[N, 2\]"),
        (lambda: vp.autoregressive_mixture(2).init_from_data(KEY, z=np.zeros((3, 2))), "num_components=5 encodings"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
