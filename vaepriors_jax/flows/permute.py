"""A fixed permutation of the dimensions."""

from typing import Any

import jax
import numpy as np

from vaepriors_jax.base import Flow
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.bijector import FlowBijector, no_volume_change


@factory
def permute(dim: int, order: tuple[int, ...] | None = None) -> Flow:
    r"""Permutation of the dimensions, $z_i = u_{\pi(i)}$; it preserves volume and has no parameters.

    Args:
        dim: dimension of z.
        order: the permutation $\pi$ of 0 to dim - 1; by default the dimensions are reversed.

    Raises:
        ValueError: `order` is not a permutation of `dim` dimensions.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> vp.permute(3).apply({}).forward(jnp.arange(3.0))
        Array([2., 1., 0.], dtype=float32)
    """
    check_positive_integer(dim=dim)
    permutation = np.arange(dim)[::-1] if order is None else np.asarray(order)
    if sorted(permutation.tolist()) != list(range(dim)):
        raise ValueError(f"Expected `order` to hold each of 0 to {dim - 1} once; got {order!r}.")
    # With int64, jax mixes up the programs that it makes with x64 and without.
    permutation, inverse_permutation = permutation.astype(np.int32), np.argsort(permutation).astype(np.int32)

    def forward(params: Any, context: dict[str, Any], u: jax.Array) -> tuple[jax.Array, jax.Array]:
        del params, context
        return u[permutation], no_volume_change(u)

    def inverse(params: Any, context: dict[str, Any], z: jax.Array) -> tuple[jax.Array, jax.Array]:
        del params, context
        return z[inverse_permutation], no_volume_change(z)

    def init(key: jax.Array) -> Any:
        del key
        return {}

    def apply(params: Any, **context: Any) -> FlowBijector:
        return FlowBijector(forward, inverse, params, context, dim)

    return Flow(init, apply, {})
