"""The inverse of a flow."""

from typing import Any

import jax

from vaepriors_jax.base import Flow
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.bijector import FlowBijector


@factory
def invert(flow: Flow) -> Flow:
    """Inverts a flow: `forward` of the result is `inverse` of the flow, and the other way round.

    `invert(masked_autoregressive(dim))` is an inverse autoregressive flow.

    Args:
        flow: any flow.

    Returns:
        A flow with the parameters of `flow`. It does not start from data: those of `flow` are on its other side.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> vp.invert(vp.permute(3, (1, 2, 0))).apply({}).forward(jnp.arange(3.0))
        Array([2., 0., 1.], dtype=float32)
    """

    def forward(params: Any, context: dict[str, Any], value: jax.Array) -> tuple[jax.Array, jax.Array]:
        return flow.apply(params, **context).inverse_and_log_det(value)

    def inverse(params: Any, context: dict[str, Any], value: jax.Array) -> tuple[jax.Array, jax.Array]:
        return flow.apply(params, **context).forward_and_log_det(value)

    def apply(params: Any, **context: Any) -> FlowBijector:
        return FlowBijector(forward, inverse, params, context)

    return Flow(flow.init, apply, {})
