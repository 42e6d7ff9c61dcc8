"""The distrax bijector of a flow, made of two functions of one vector."""

from collections.abc import Callable
from functools import partial
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.distributions.numerics import full_precision, over_leading_axes

# (params, context, vector [dim]) -> (vector [dim], log |det Jacobian|)
Map = Callable[[Any, dict[str, Any], jax.Array], tuple[jax.Array, jax.Array]]


class FlowBijector(distrax.Bijector):
    """A bijector z = f(u) of vectors [..., dim]."""

    def __init__(self, forward: Map, inverse: Map, params: Any, context: dict[str, Any], dim: int | None = None):
        """Takes both directions as functions of params, context and one vector, whose size must be `dim` if given."""
        super().__init__(event_ndims_in=1)
        self._dim = dim
        self._forward, self._inverse = forward, inverse
        self._params, self._flow_context = params, context

    def forward_and_log_det(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """From the base variable u [..., dim] to z, and log |det dz/du| [...]."""
        self._check_dim(x)
        return over_leading_axes(partial(self._forward, self._params, self._flow_context), self._in_precision(x))

    def inverse_and_log_det(self, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        """From z [..., dim] to the base variable u, and log |det du/dz| [...]."""
        self._check_dim(y)
        return over_leading_axes(partial(self._inverse, self._params, self._flow_context), self._in_precision(y))

    def _in_precision(self, value: Any) -> jax.Array:
        """Converts vectors to the wider dtype of theirs and the parameters', at least float32.

        A layer's output then has the dtype of its input, as the scan of `repeat` requires.
        """
        value = full_precision(value)
        widths = [value.dtype, *(jnp.result_type(leaf) for leaf in jax.tree.leaves(self._params))]
        is_double = any(dtype == jnp.float64 for dtype in widths)
        return value.astype(jnp.float64) if is_double else value

    def _check_dim(self, value: jax.Array) -> None:
        shape = np.shape(value)
        if not shape or self._dim not in (None, shape[-1]):
            raise ValueError(
                f"Expected vectors of shape [..., {self._dim or 'dim'}] for a flow; got {list(shape)}. Give the "
                "flow, and the prior under it, the dimension of z."
            )


def no_volume_change(vector: jax.Array) -> jax.Array:
    """The log-determinant of a volume-preserving map, zero."""
    return jnp.zeros((), vector.dtype)
