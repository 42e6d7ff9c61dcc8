"""A lower bound on the density of an exemplar prior, from the exemplars nearest to each point."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from jax.lax import Precision

from vaepriors_jax.distributions.isotropic_mixture import IsotropicMixture
from vaepriors_jax.distributions.numerics import as_event, over_leading_axes


class NearestExemplars(distrax.Distribution):
    r"""$\sum_n w_n\, \mathcal{N}(z; \mu(x_n), \sigma^2 I)$, with a `log_prob` from the nearest exemplars alone.

    The terms that are left out are not negative, so that `log_prob` is a lower bound on the log-density. Stored
    encodings, which need not be up to date, say which terms are the largest; their exemplars are then encoded. With
    equal weights these are the nearest ones. Samples are those of the whole mixture.
    """

    def __init__(
        self,
        log_weights: jax.Array,
        exemplars: Any,
        mean_of: Callable[[Any], jax.Array],
        shared_scale: jax.Array,
        encodings: jax.Array,
        num_neighbors: int,
    ):
        """Takes log-weights [N], exemplars (arrays [N, ...]), their encoder, a scale, encodings [N, dim], a number."""
        self.log_weights = log_weights
        self.exemplars = exemplars
        self._mean_of = mean_of
        self.shared_scale = shared_scale
        self.encodings = jax.lax.stop_gradient(encodings)
        self._num_neighbors = min(num_neighbors, len(encodings))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return self.encodings.shape[1:]

    def log_prob(self, value: jax.Array) -> jax.Array:
        """A lower bound on the log-density in nats at z [..., dim]: [...]."""
        value = as_event(value, self.event_shape, self.log_weights.dtype)
        return over_leading_axes(self._log_prob_of_one, value)

    def _log_prob_of_one(self, value: jax.Array) -> jax.Array:
        product = jnp.dot(self.encodings, jax.lax.stop_gradient(value), precision=Precision.HIGHEST)
        closeness = product - 0.5 * jnp.sum(self.encodings**2, axis=-1)
        terms = jax.lax.stop_gradient(self.log_weights + closeness / self.shared_scale**2)
        _, nearest = jax.lax.top_k(terms, self._num_neighbors)
        loc = jax.vmap(self._mean_of)(jax.tree.map(lambda leaf: leaf[nearest], self.exemplars))
        return IsotropicMixture(self.log_weights[nearest], loc, self.shared_scale).log_prob(value)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_exemplar, key_noise = jax.random.split(key)
        chosen = jax.random.choice(key_exemplar, len(self.log_weights), (n,), p=jnp.exp(self.log_weights))
        loc = jax.vmap(self._mean_of)(jax.tree.map(lambda leaf: leaf[chosen], self.exemplars))
        return loc + self.shared_scale * jax.random.normal(key_noise, loc.shape, loc.dtype)
