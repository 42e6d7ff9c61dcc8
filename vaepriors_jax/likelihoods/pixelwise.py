"""What likelihoods share: independent pixels, of which many lie on equally spaced grey levels."""

import abc
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_positive_integer


class Pixelwise(distrax.Distribution):
    """Independent pixels over one array; a subclass gives the log-density of each."""

    @abc.abstractmethod
    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each pixel at x [..., *event_shape], of the same shape."""

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at x [..., *event_shape]: [...]."""
        event_axes = tuple(range(-len(self.event_shape), 0))
        return jnp.sum(self.pixel_log_prob(value), axis=event_axes)


class Levels(Pixelwise):
    """Pixels on the L levels k / (L - 1), k = 0, ..., L - 1."""

    num_levels: int

    def level(self, value: jax.Array, dtype: Any) -> jax.Array:
        """The index k of the level next to each value."""
        return jnp.round(value * (self.num_levels - 1)).astype(dtype)

    def check_support(self, x: Any) -> None:
        """Raises ValueError for data that are not on the levels."""
        values, top = np.asarray(x), self.num_levels - 1
        nearest = np.clip(np.round(values * top), 0, top) / top
        # Data of half precision pass; where levels are close, their neighbourhoods stay apart.
        outside = ~(np.abs(values - nearest) <= min(1e-3, 0.25 / top))
        if outside.any():
            raise ValueError(
                f"Expected levels k / {top}, k = 0, ..., {top}, as data of a likelihood over {self.num_levels} levels; "
                f"got {values[outside].flat[0]!s} among values from {values.min()} to {values.max()}. Divide grey "
                "values by their maximum (8-bit images by 255) and give their number as `num_levels=`; continuous "
                "values need a density, such as `vp.normal_diag` or, in [0, 1], `vp.continuous_bernoulli`."
            )


def check_num_levels(num_levels: Any) -> None:
    """Raises ValueError unless there are at least two levels."""
    check_positive_integer(num_levels=num_levels)
    if num_levels < 2:
        raise ValueError(f"Expected `num_levels` >= 2; got {num_levels!r}. 8-bit images have 256.")


def bits_per_dim(log_prob: Any, num_dims: int) -> Any:
    r"""Converts log-probabilities in nats into bits per dimension, $-\log p(x) / (D \log 2)$; smaller is better.

    Meant for discrete data: that of a density depends on the units of x.

    Args:
        log_prob: $\log p(x)$ in nats [...], or a bound on it.
        num_dims: number D of pixels (times channels) of one example.

    Returns:
        Bits per dimension [...].

    Raises:
        ValueError: `num_dims` is not an integer of at least 1.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> print(vp.bits_per_dim(-784 * jnp.log(256.0), 784))
        8.0
    """
    check_positive_integer(num_dims=num_dims)
    return -log_prob / (num_dims * float(np.log(2.0)))
