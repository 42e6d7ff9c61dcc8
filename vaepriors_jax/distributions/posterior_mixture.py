"""Mixtures of an encoder's posteriors q(z|x_k), at pseudo-inputs or at a data set."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_event
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.normal import is_normal_diag, location_and_scale
from vaepriors_jax.distributions.numerics import over_leading_axes
from vaepriors_jax.loops import map_chunks

# How many components are encoded and evaluated at a time: memory is this times the points times the encoder's widths.
ENCODED_AT_ONCE = 64


class EncodedMixture(Mixture):
    r"""$\sum_k w_k\, q(z|x_k)$ for any posterior: keeps the inputs, and encodes them again wherever it is used.

    A distribution cannot come out of a `vmap`, and the arrays that it is made of are not enough where it closes over
    others, as flows and hierarchies do. Encoding costs little beside the densities of many points.
    """

    def component_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each component at z [..., dim]: [..., K]."""

        def one(value: jax.Array) -> jax.Array:
            return _map(lambda inputs: self._component(inputs).log_prob(value), self.parameters)

        check_event(value, self.event_shape)
        return over_leading_axes(one, value)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_component, key_value = jax.random.split(key)
        chosen = self._choose(key_component, n)
        inputs = jax.tree.map(lambda leaf: leaf[chosen], self.parameters)
        draw = lambda one: self._component(one[1]).sample(seed=one[0])  # noqa: E731
        return _map(draw, (jax.random.split(key_value, n), inputs))

    def with_log_weights(self, log_weights: jax.Array) -> "EncodedMixture":
        """The same components with other log-weights [K]."""
        return EncodedMixture(log_weights, self.parameters, self._component)

    def component_moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of each component, [K, dim] both."""
        return _map(lambda inputs: moments(self._component(inputs)), self.parameters)


def _map(function: Callable[[Any], Any], arrays: Any) -> Any:
    """Maps over the leading axis, a part of it at a time where it is long."""
    return map_chunks(function, arrays, ENCODED_AT_ONCE)


def moments(distribution: distrax.Distribution) -> tuple[jax.Array, jax.Array]:
    """Mean and variance [dim]; those of 64 samples, always the same, where the distribution does not tell them."""
    try:
        return distribution.mean(), distribution.variance()
    except NotImplementedError:
        samples = distribution.sample(seed=jax.random.key(0), sample_shape=64)
        return jnp.mean(samples, axis=0), jnp.var(samples, axis=0)


def gaussian_arrays(posterior: distrax.Distribution) -> tuple[jax.Array, jax.Array] | None:
    """Mean and standard deviation of a diagonal Gaussian; None, which has no arrays, for any other distribution."""
    return location_and_scale(posterior) if is_normal_diag(posterior) else None


def mixture_of_posteriors(
    log_weights: jax.Array, encode: Callable[[Any], distrax.Distribution], inputs: Any, encoded: Any
) -> Mixture:
    """The mixture of q(z|x_k): of Gaussians encoded once, or of anything else.

    Args:
        log_weights: normalised log-weights [K].
        encode: gives the posterior of one slice of `inputs`.
        inputs: arrays with a leading axis of K.
        encoded: `gaussian_arrays` of all of them.
    """
    if encoded is not None:
        return DiagonalMixture(log_weights, *encoded)
    return EncodedMixture(log_weights, inputs, encode)
