"""Distributions over arrays, such as a spatial latent [4, 4, 2], as distributions over one vector."""

import math
from typing import Any

import distrax
import jax

from vaepriors_jax.distributions.gaussian_parameters import INDEPENDENT, NORMAL, distribution_class
from vaepriors_jax.distributions.normal import normal_diag


class Flattened(distrax.Distribution):
    """A distribution over an array, whose event is the array as one vector."""

    def __init__(self, distribution: Any):
        """Takes a distribution over one array, without a batch shape."""
        self.distribution = distribution

    @property
    def event_shape(self) -> tuple[int, ...]:
        """One axis."""
        return (math.prod(self.distribution.event_shape),)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        return self.distribution.log_prob(value.reshape(*value.shape[:-1], *self.distribution.event_shape))

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        return self.distribution.sample(seed=key, sample_shape=n).reshape(n, -1)

    def mean(self) -> jax.Array:
        """The mean [dim]."""
        return self.distribution.mean().ravel()

    def variance(self) -> jax.Array:
        """The variance of each dimension [dim]."""
        return self.distribution.variance().ravel()


def flattened(distribution: Any, shape: tuple[int, ...]) -> Any:
    """Returns q(z|x) over an array of a shape as a distribution over one vector; raises ValueError for other shapes."""
    event_shape, batch_shape = tuple(distribution.event_shape), tuple(distribution.batch_shape)
    if event_shape != tuple(shape) or batch_shape:
        raise ValueError(
            f"Expected the encoder to return a distribution over z of `latent_shape` {list(shape)}; got event_shape "
            f"{event_shape} and batch_shape {batch_shape}. Return `vp.normal_diag(loc, scale)` with loc of that shape."
        )
    scalar = distribution
    while distribution_class(scalar) in INDEPENDENT:
        scalar = scalar.distribution
    if distribution_class(scalar) in NORMAL:
        return normal_diag(scalar.mean().ravel(), scalar.stddev().ravel())
    return Flattened(distribution)
