"""Autoregressive densities whose conditionals are mixtures of Gaussians."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.numerics import LOG_2PI, as_event, log_sum_exp, over_leading_axes
from vaepriors_jax.loops import map_chunks, scan

# (params, condition, z [dim]) -> log-weights, means and scales, [dim, K] each, whose row i reads z_1 to z_{i-1} alone
Conditionals = Callable[[Any, Any, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]
# (params, condition, z [dim], i, cache) -> row i of these, [K] each, and the cache that row i + 1 needs
Next = Callable[[Any, Any, jax.Array, jax.Array, Any], tuple[tuple[jax.Array, jax.Array, jax.Array], Any]]

CHUNK = 1000  # samples drawn at once, whose caches are in memory together


class AutoregressiveMixture(distrax.Distribution):
    r"""$p(z) = \prod_i p(z_i | z_{<i})$ with mixtures of Gaussians as conditionals; see `autoregressive_mixture`."""

    def __init__(
        self,
        conditionals: Conditionals,
        params: Any,
        condition: Any,
        dim: int,
        dtype: Any,
        *,
        next_conditional: Next | None = None,
        cache: Any = None,
    ):
        """Takes the conditionals as a function of params, condition and z [dim], and the dtype of samples.

        A sampler calls `next_conditional`, from `cache` on, where one conditional costs less than all.
        """
        self._conditionals, self._params, self._condition = conditionals, params, condition
        self._dim, self._dtype = dim, dtype
        self._next, self._cache = next_conditional or self._one_of_all, cache

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

    def _one_of_all(self, params: Any, condition: Any, z: jax.Array, i: jax.Array, cache: Any) -> Any:
        return tuple(row[i] for row in self._conditionals(params, condition, z)), cache

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        """Dimension by dimension, in as many passes of the network."""

        def fill(carry: tuple[jax.Array, Any], inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, None]:
            (z, cache), (i, key) = carry, inputs
            key_component, key_value = jax.random.split(key)
            (log_weights, loc, scale), cache = self._next(self._params, self._condition, z, i, cache)
            chosen = jax.random.categorical(key_component, log_weights)
            return (z.at[i].set(loc[chosen] + scale[chosen] * jax.random.normal(key_value, (), z.dtype)), cache), None

        def draw(key: jax.Array) -> jax.Array:
            keys = jax.random.split(key, self._dim)
            start = jnp.zeros(self._dim, self._dtype), self._cache
            return scan(fill, start, (jnp.arange(self._dim), keys), self._dim)[0][0]

        return map_chunks(draw, jax.random.split(key, n), CHUNK)
