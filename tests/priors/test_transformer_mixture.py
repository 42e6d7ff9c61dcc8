"""The transformer prior: order of dimensions, the cache of the sampler, start from data, conditions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import vaepriors_jax as vp
from tests.cases import perturbed
from vaepriors_jax.transformer import CausalTransformer

KEY = jax.random.key(0)
SMALL = {"num_layers": 2, "num_heads": 2, "features": 8}


@pytest.mark.slow
def test_each_conditional_reads_the_dimensions_before_it():
    prior = vp.transformer_mixture(4, 3, **SMALL)
    distribution = prior.apply(perturbed(prior.init(KEY), jax.random.key(1)))
    jacobian = jax.jit(jax.vmap(jax.jacrev(distribution.conditional_log_prob)))(jax.random.normal(KEY, (20, 4)))
    np.testing.assert_array_equal(np.abs(jacobian).max(0) > 0, np.tril(np.ones((4, 4), bool)))


def test_row_i_of_the_network_has_a_gradient_in_the_inputs_before_it_alone():
    network = CausalTransformer(5, 2, **SMALL)
    variables = perturbed(network.init(KEY, jnp.zeros(5)), jax.random.key(1))
    jacobian = jax.jit(jax.jacrev(lambda z: network.apply(variables, z)))(jax.random.normal(KEY, (5,)))
    np.testing.assert_array_equal(np.abs(jacobian).max(1) > 0, np.tril(np.ones((5, 5), bool), -1))


def test_rows_from_the_cache_are_those_of_one_pass():
    network = CausalTransformer(5, 2, **SMALL)
    variables = perturbed(network.init(KEY, jnp.zeros(5), jnp.zeros(3)), jax.random.key(1))
    z, condition = jax.random.normal(KEY, (5,)), jnp.array([0.0, 1.0, 0.0])
    advance = jax.jit(lambda before, i, cache: network.apply(variables, before, i, cache, condition, method="advance"))
    rows, cache = [], network.empty_cache()
    for i, before in enumerate([0.0, *z[:-1]]):
        row, cache = advance(jnp.array([before]), i, cache)
        rows.append(row[0])
    np.testing.assert_allclose(np.stack(rows), network.apply(variables, z, condition), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_samples_have_the_distribution_of_the_density():
    prior = vp.transformer_mixture(2, 1, num_layers=1, num_heads=1, features=4)
    params = perturbed(prior.init(KEY), jax.random.key(8), 1.0)
    # N(0, 1) of z_1, and at z_1 = 0 N(0, 0.14^2) of z_2, whose mean moves by 1.3 as z_1 goes from -2 to 2.
    network = CausalTransformer(2, 3, num_layers=1, num_heads=1, features=4)
    _, loc, log_scale = jnp.split(network.apply({"params": params["network"]}, jnp.zeros(2)), 3, axis=-1)
    params |= {"loc": -loc, "log_scale": jnp.array([[0.0], [-2.0]]) - log_scale}

    @jax.jit
    def cdf_of_second(z):
        """P(z_2 <= the second entry of z, given the first), by quadrature: uniform if z has the density."""
        grid = jnp.linspace(-4, 4, 1001)
        pairs = jnp.stack([jnp.broadcast_to(z[0], grid.shape), grid], axis=-1)
        density = jnp.exp(prior.apply(params).conditional_log_prob(pairs)[:, 1])
        return jnp.sum(density * (grid <= z[1])) * (grid[1] - grid[0])

    samples = jax.jit(lambda key: prior.apply(params).sample(seed=key, sample_shape=(1100,)))(KEY)
    values = jax.lax.map(cdf_of_second, samples)  # 1,100: the sampler draws 1,000 at once
    assert scipy.stats.kstest(np.asarray(values), "uniform").pvalue > 1e-3


def test_starts_with_independent_dimensions_at_the_modes_of_the_data():
    z = np.random.default_rng(0).choice([[-4.0, 10.0], [4.0, 20.0]], 2000, axis=0)
    z = z + 0.5 * np.random.default_rng(1).normal(size=z.shape)
    prior = vp.transformer_mixture(2, 2, **SMALL)
    params = vp.init_from_data(prior, KEY, z=z)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, prior.init(KEY))
    np.testing.assert_allclose(np.sort(params["loc"]), [[-4, 4], [10, 20]], atol=0.1)
    first, second = (prior.apply(params).log_prob(jnp.array([-4.0, high])) for high in (10.0, 20.0))
    np.testing.assert_allclose(first, second, atol=0.2)


def test_reads_a_label_in_every_dimension():
    prior = vp.transformer_mixture(2, 2, **SMALL, num_classes=3, condition="kind")
    params = perturbed(prior.init(KEY), jax.random.key(1))
    terms = [prior.apply(params, kind=kind).conditional_log_prob(jnp.zeros(2)) for kind in (0, 2)]
    assert (np.abs(terms[0] - terms[1]) > 1e-3).all()
    with pytest.raises(TypeError, match="'kind'"):
        prior.apply(params)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vp.transformer_mixture(0), "`dim` to be an integer >= 1; got 0"),
        (lambda: vp.transformer_mixture(2, num_layers=0), "`num_layers` to be an integer >= 1; got 0"),
        (lambda: vp.transformer_mixture(2, num_heads=3, features=16), "num_heads=3, features=16. Take features=18"),
        (lambda: vp.transformer_mixture(2, initial_spread=0.0), "`initial_spread` to be a finite number > 0"),
        (lambda: vp.transformer_mixture(2, num_classes=2, condition_dim=2), "one of the two"),
        (lambda: vp.transformer_mixture(2).init_from_data(KEY, z=np.zeros((9, 3))), r"`z` of shape \[N, 2\]"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
