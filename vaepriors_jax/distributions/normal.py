"""Diagonal Gaussians over one array."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vaepriors_jax.distributions.numerics import as_event, full_precision

LARGEST_LOG_SCALE = float(np.log(1e8))  # gradients at latents of 1e4 stay finite in float32


class NormalDiag(distrax.Independent):
    """Diagonal Gaussian over one array; see `normal_diag`."""

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at [..., *event_shape]: [...]."""
        return super().log_prob(as_event(value, self.event_shape, self.distribution.loc.dtype))


def normal_diag(loc: jax.Array, scale: jax.Array) -> NormalDiag:
    r"""Diagonal Gaussian, $\mathcal{N}(z; \mu, \mathrm{diag}(\sigma^2))$, over one array.

    Args:
        loc: mean $\mu$ [...]; bfloat16 and float16 become float32.
        scale: standard deviation $\sigma$ > 0 [...], of the same shape.

    Returns:
        A distrax distribution whose event has the shape of `loc`; log-densities in nats.

    Raises:
        ValueError: shapes that do not fit, or a `scale` that is not > 0 (where its values are known: not in a compiled
            function).

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> print(vp.normal_diag(jnp.zeros(2), jnp.ones(2)).log_prob(jnp.zeros(2)))
        -1.837877
    """
    _check_shapes(loc, scale)
    check_scale(scale)
    loc, scale = jnp.broadcast_arrays(full_precision(loc), full_precision(scale))
    return NormalDiag(distrax.Normal(loc, scale), reinterpreted_batch_ndims=loc.ndim)


def _check_shapes(loc: Any, scale: Any) -> None:
    """Raises ValueError unless location and scale have shapes that fit."""
    shapes = np.shape(loc), np.shape(scale)
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"Expected `loc` and `scale` of one shape; got {list(shapes[0])} and {list(shapes[1])}. Let the network "
            "return one standard deviation for each dimension."
        ) from None


def check_scale(scale: Any) -> None:
    """Raises ValueError unless a scale is above 0, where its values are known: a traced array passes."""
    if isinstance(scale, jax.Array) and (isinstance(scale, Tracer) or not scale.is_fully_addressable):
        return
    values = np.asarray(scale)
    if (values <= 0).any():
        raise ValueError(
            f"Expected `scale` > 0, not its logarithm; got values from {values.min()} to {values.max()}. Make the "
            "output of a network positive, such as by `jnp.exp` or `jax.nn.softplus`."
        )


def normal_of_outputs(outputs: jax.Array) -> NormalDiag:
    """The Gaussian of a network's outputs [2 dim]: means, then log-scales.

    Scales are kept within [1e-8, 1e8]: from far inputs a network would make scales of 0 or infinity.
    """
    loc, log_scale = jnp.split(outputs, 2)
    return normal_diag(loc, jnp.exp(jnp.clip(log_scale, -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE)))


def is_normal_diag(distribution: Any) -> bool:
    """Returns whether a distribution is a diagonal Gaussian in the form that `normal_diag` creates."""
    if type(distribution) not in (NormalDiag, distrax.Independent):
        return False
    return type(distribution.distribution) in (distrax.Normal, distrax.LogStddevNormal)


def location_and_scale(distribution: distrax.Independent) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and the standard deviation [dim] of a `normal_diag`."""
    normal = distribution.distribution
    assert isinstance(normal, distrax.Normal)
    return normal.loc, normal.scale
