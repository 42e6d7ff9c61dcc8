"""Distributions of NumPyro that a user's network returns. NumPyro itself is not imported."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.spaces import EUCLIDEAN, SIMPLEX, SPHERE

SPACES = {"_Sphere": SPHERE, "_Simplex": SIMPLEX}  # by the constraints of NumPyro


class FromNumPyro(distrax.Distribution):
    """A distribution of NumPyro with the methods of distrax."""

    def __init__(self, distribution: Any):
        """Takes the distribution."""
        self.distribution = distribution

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of an event."""
        return tuple(self.distribution.event_shape)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the batch."""
        return tuple(self.distribution.batch_shape)

    @property
    def space(self) -> str:
        """The space of its events."""
        return SPACES.get(type(self.distribution.support).__name__, EUCLIDEAN)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats."""
        return self.distribution.log_prob(value)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        return self.distribution.sample(key, (n,))

    def mean(self) -> jax.Array:
        """The mean."""
        return self.distribution.mean

    def variance(self) -> jax.Array:
        """The variance."""
        return self.distribution.variance


def convert_numpyro(distribution: Any) -> Any:
    """Converts a distribution of NumPyro: Gaussians to those of distrax, whose KL is known; leaves all others."""
    if not any(base.__module__.split(".")[0] == "numpyro" for base in type(distribution).__mro__):
        return distribution
    scalar, num_event_axes = distribution, 0
    while type(scalar).__name__ == "Independent":
        num_event_axes += scalar.reinterpreted_batch_ndims
        scalar = scalar.base_dist
    if type(scalar).__name__ != "Normal":
        return FromNumPyro(distribution)
    loc, scale = (jnp.broadcast_to(array, scalar.batch_shape) for array in (scalar.loc, scalar.scale))
    return distrax.Independent(distrax.Normal(loc, scale), reinterpreted_batch_ndims=num_event_axes)
