"""Mixtures of an encoder's posteriors q(z|x_k), at pseudo-inputs or at a data set."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.normal import is_normal_diag, location_and_scale
from vaepriors_jax.distributions.numerics import as_event, over_leading_axes
from vaepriors_jax.loops import map_chunks

# Components encoded and evaluated at a time; memory grows with it times the points times the encoder's widths.
ENCODED_AT_ONCE = 64


class EncodedMixture(Mixture):
    r"""$\sum_k w_k\, q(z|x_k)$ for any posterior; it keeps the inputs and encodes them at each use.

    `vmap` cannot return distributions, and a posterior's own arrays do not suffice to rebuild one that closes over
    others, as flows and hierarchical posteriors do. Encoding is cheap compared with the densities of many points.
    """

    def component_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each component at z [..., dim]: [..., K]."""

        def one(value: jax.Array) -> jax.Array:
            return _map(lambda inputs: self._component(inputs).log_prob(value), self.parameters)

        value = as_event(value, self.event_shape, self.log_weights.dtype)
        return over_leading_axes(one, value)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_component, key_value = jax.random.split(key)
        chosen = self._choose(key_component, n)
        inputs = jax.tree.map(lambda leaf: leaf[chosen], self.parameters)

        def draw(key_and_input: tuple[jax.Array, Any]) -> jax.Array:
            key, one = key_and_input
            return self._component(one).sample(seed=key)

        return _map(draw, (jax.random.split(key_value, n), inputs))

    def with_log_weights(self, log_weights: jax.Array) -> "EncodedMixture":
        """The same components with other log-weights [K]."""
        return EncodedMixture(log_weights, self.parameters, self._component)

    def component_moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of each component, [K, dim] both."""
        return _map(lambda inputs: moments(self._component(inputs)), self.parameters)


def _map(function: Callable[[Any], Any], arrays: Any) -> Any:
    """Maps over the leading axis in chunks."""
    return map_chunks(function, arrays, ENCODED_AT_ONCE)


def moments(distribution: distrax.Distribution) -> tuple[jax.Array, jax.Array]:
    """Mean and variance [dim]; of 64 samples with a fixed key where the distribution does not implement them."""
    try:
        return distribution.mean(), distribution.variance()
    except NotImplementedError:
        samples = distribution.sample(seed=jax.random.key(0), sample_shape=64)
        return jnp.mean(samples, axis=0), jnp.var(samples, axis=0)


def gaussian_arrays(posterior: distrax.Distribution) -> tuple[jax.Array, jax.Array] | None:
    """Mean and standard deviation of a diagonal Gaussian; None, an empty pytree, for any other distribution."""
    return location_and_scale(posterior) if is_normal_diag(posterior) else None


def mixture_of_posteriors(
    log_weights: jax.Array, encode: Callable[[Any], distrax.Distribution], inputs: Any, encoded: Any
) -> Mixture:
    """The mixture of q(z|x_k): a fast one of diagonal Gaussians, or one of any other posteriors.

    Args:
        log_weights: normalised log-weights [K].
        encode: returns the posterior of one slice of `inputs`.
        inputs: arrays with a leading axis of K.
        encoded: `gaussian_arrays` of the posteriors of all inputs, with a leading axis of K.
    """
    if encoded is not None:
        return DiagonalMixture(log_weights, *encoded)
    return EncodedMixture(log_weights, inputs, encode)
