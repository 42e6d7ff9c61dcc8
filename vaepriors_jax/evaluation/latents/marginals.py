"""Marginals of a distribution over z: the density of each dimension by itself, as a mixture of Gaussians."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.conversion import as_latent_distribution
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.full_mixture import FullMixture
from vaepriors_jax.distributions.normal import is_normal_diag, location_and_scale
from vaepriors_jax.distributions.two_level import NUM_DRAWS, TwoLevel


def marginal_mixture(distribution: Any, key: jax.Array) -> DiagonalMixture | None:
    """The marginals of all dimensions as a diagonal mixture with components [K, dim].

    Exact for Gaussians and their mixtures, an average over draws for two levels, None for other distributions.
    """
    if is_normal_diag(distribution):
        loc, scale = location_and_scale(distribution)
        return DiagonalMixture(jnp.zeros(1), loc[None], scale[None])
    if isinstance(distribution, DiagonalMixture):
        return distribution
    if isinstance(distribution, FullMixture):
        means, variances = distribution.component_moments()
        return DiagonalMixture(distribution.log_weights, means, jnp.sqrt(variances))
    if isinstance(distribution, TwoLevel):
        drawn = jax.vmap(lambda key: draw_marginals(distribution, key))(jax.random.split(key, NUM_DRAWS))
        return None if drawn is None else DiagonalMixture(jnp.full(NUM_DRAWS, -jnp.log(NUM_DRAWS)), *drawn)
    return None


def draw_marginals(distribution: Any, key: jax.Array) -> tuple[jax.Array, jax.Array] | None:
    """Means and scales [dim] of Gaussians that depend on the key: averaged over keys, they are the marginals."""
    if isinstance(distribution, TwoLevel):
        key_top, key_noise, key_bottom = jax.random.split(key, 3)
        top = draw_marginals(distribution.top, key_top)
        z2 = distribution.top.sample(seed=key_noise)
        bottom = draw_marginals(as_latent_distribution(distribution.bottom(z2)), key_bottom)
        if top is None or bottom is None:
            return None
        return jnp.concatenate([bottom[0], top[0]]), jnp.concatenate([bottom[1], top[1]])
    marginals = marginal_mixture(distribution, key)
    if marginals is None:
        return None
    chosen = jax.random.categorical(key, marginals.log_weights)
    loc, scale = marginals.parameters
    return loc[chosen], scale[chosen]


def marginal_log_prob(marginals: DiagonalMixture, z: jax.Array) -> jax.Array:
    """Log-density of each dimension's marginal at z [dim]: [dim]."""
    loc, scale = marginals.parameters
    return jax.nn.logsumexp(marginals.log_weights[:, None] + distrax.Normal(loc, scale).log_prob(z), axis=0)
