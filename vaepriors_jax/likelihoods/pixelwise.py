"""Base classes of likelihoods with independent pixels, some of them on equally spaced grey levels."""

import abc
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.distributions.numerics import full_precision_as


class Pixelwise(distrax.Distribution):
    """Independent pixels over one array; a subclass implements the log-density of each pixel."""

    @abc.abstractmethod
    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each pixel at x [..., *event_shape].

        It has the shape of x, or lacks the axis of channels where these depend on each other.
        """

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at x [..., *event_shape]: [...]."""
        value = value if isinstance(value, (jax.Array, np.ndarray)) else jnp.asarray(value)
        event_axes = tuple(range(-len(self.event_shape), 0))
        return jnp.sum(self.pixel_log_prob(value), axis=event_axes)


class Levels(Pixelwise):
    """Pixels on L levels k = 0, ..., L - 1: floating-point data hold k / (L - 1), integer data hold k."""

    num_levels: int

    def level(self, value: jax.Array, dtype: Any) -> jax.Array:
        """The index k of the level nearest to each value; False is the first level and True the last."""
        if jnp.issubdtype(value.dtype, jnp.integer):
            return jnp.asarray(value).astype(dtype)
        return jnp.round(full_precision_as(value, jnp.float32) * (self.num_levels - 1)).astype(dtype)

    def nearest_level(self, value: jax.Array, dtype: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        """The index k of `level`, with 0 for those that are none; which are levels; and `level` itself."""
        level = self.level(value, dtype)
        is_level = (level >= 0) & (level <= self.num_levels - 1)
        return jnp.where(is_level, level, 0), is_level, level

    def check_support(self, x: Any) -> None:
        """Raises ValueError for data that are not on the levels."""
        values, top = np.asarray(x), self.num_levels - 1
        if np.issubdtype(values.dtype, np.integer):
            self._check_integers(values)
            return
        # The tolerance admits half precision, but is at most a quarter of the distance between levels.
        rounding = 0.0 if np.issubdtype(values.dtype, np.bool_) else float(jnp.finfo(values.dtype).eps) / 2
        values = values.astype(np.float64)
        nearest = np.clip(np.round(values * top), 0, top) / top
        outside = ~(np.abs(values - nearest) <= min(max(1e-3, rounding), 0.25 / top))
        if outside.any():
            raise ValueError(
                f"Expected levels k / {top}, k = 0, ..., {top}, as data of a likelihood over {self.num_levels} levels; "
                f"got {values[outside].flat[0]!s} among values from {values.min()} to {values.max()}. Divide grey "
                "values by their maximum (8-bit images by 255) and give their number as `num_levels=`; continuous "
                "values need a density, such as `vp.normal_diag` or, in [0, 1], `vp.continuous_bernoulli`."
            )

    def _check_integers(self, values: np.ndarray) -> None:
        """Raises ValueError for integers outside the levels, and for zeros and ones where 8 bits are expected."""
        if not values.size:
            return
        smallest, largest, top = int(values.min()), int(values.max()), self.num_levels - 1
        if smallest < 0 or largest > top:
            raise ValueError(
                f"Expected integers from 0 to {top}, the levels of a likelihood over {self.num_levels} levels; got "
                f"values from {smallest} to {largest}. Give the number of levels of the data as `num_levels=`."
            )
        if largest == 1 and top >= 255:
            raise ValueError(
                f"Expected integers to be levels from 0 to {top}; got only zeros and ones. Pass black and white images "
                "as booleans or floating numbers, or with `vp.bernoulli` as the likelihood."
            )


def check_num_levels(num_levels: Any) -> int:
    """Returns the number of levels, or raises ValueError unless there are at least two."""
    check_positive_integer(num_levels=num_levels)
    if num_levels < 2:
        raise ValueError(f"Expected `num_levels` >= 2; got {num_levels!r}. 8-bit images have 256.")
    return int(num_levels)


def bits_per_dim(log_prob: Any, num_dims: int, *, bin_width: float = 1.0) -> Any:
    r"""Converts log-probabilities in nats into bits per dimension, $-\log p(x) / (D \log 2)$; smaller is better.

    Meant for probabilities of discrete data. A density depends on the units of x: times the volume $\Delta^D$ of a bin
    it approximates a probability, and bits per dimension are $-\log p(x) / (D \log 2) - \log_2 \Delta$. They are a
    bound for data with uniform noise of the width of a bin, not for values that lie on levels.

    Args:
        log_prob: $\log p(x)$ in nats [...], or a bound on it.
        num_dims: number D of pixels (times channels) of one example.
        bin_width: 1 for probabilities; for a density the width $\Delta$ of a bin in the units of x, such as 1 / 256 for
            8-bit images with noise that were scaled to [0, 1].

    Returns:
        Bits per dimension [...].

    Raises:
        ValueError: `num_dims` is not an integer of at least 1, or `bin_width` is not > 0.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> print(vp.bits_per_dim(-784 * jnp.log(256.0), 784))
        8.0
    """
    check_positive_integer(num_dims=num_dims)
    check_positive(bin_width=bin_width)
    return -log_prob / (num_dims * float(np.log(2.0))) - float(np.log2(bin_width))
