"""Autoregressive densities whose conditionals are mixtures of Gaussians."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.numerics import LOG_2PI, as_event, log_sum_exp, over_leading_axes
from vaepriors_jax.loops import scan

# (params, condition, z [dim]) -> log-weights, means and scales, [dim, K] each, whose row i reads z_1 to z_{i-1} alone
Conditionals = Callable[[Any, Any, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]


class AutoregressiveMixture(distrax.Distribution):
    r"""$p(z) = \prod_i p(z_i | z_{<i})$ with mixtures of Gaussians as conditionals; see `autoregressive_mixture`."""

    def __init__(self, conditionals: Conditionals, params: Any, condition: Any, dim: int, dtype: Any):
        """Takes the conditionals as a function of params, condition and z [dim], and the dtype of samples."""
        self._conditionals, self._params, self._condition = conditionals, params, condition
        self._dim, self._dtype = dim, dtype

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return (self._dim,)

    def conditional_log_prob(self, value: jax.Array) -> jax.Array:
        """log p(z_i | z_1 to z_{i-1}) in nats at z [..., dim], one of each dimension: [..., dim]."""

        def of_one(z: jax.Array) -> jax.Array:
            log_weights, loc, scale = self._conditionals(self._params, self._condition, z)
            log_densities = -0.5 * ((z[:, None] - loc) / scale) ** 2 - jnp.log(scale) - 0.5 * LOG_2PI
            return log_sum_exp(log_weights + log_densities)

        return over_leading_axes(of_one, as_event(value, self.event_shape, self._dtype))

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        return jnp.sum(self.conditional_log_prob(value), axis=-1)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        """Dimension by dimension, in as many passes of the network."""

        def fill(z: jax.Array, inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            i, key = inputs
            key_component, key_value = jax.random.split(key)
            log_weights, loc, scale = self._conditionals(self._params, self._condition, z)
            chosen = jax.random.categorical(key_component, log_weights[i])
            return z.at[i].set(loc[i, chosen] + scale[i, chosen] * jax.random.normal(key_value, (), z.dtype)), None

        def draw(key: jax.Array) -> jax.Array:
            keys = jax.random.split(key, self._dim)
            start = jnp.zeros(self._dim, self._dtype)
            return scan(fill, start, (jnp.arange(self._dim), keys), self._dim)[0]

        return jax.vmap(draw)(jax.random.split(key, n))
