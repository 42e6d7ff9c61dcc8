"""Several layers of one flow, each with its own parameters."""

from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.base import Flow
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.bijector import FlowBijector
from vaepriors_jax.loops import scan


@factory
def repeat(flow: Flow, num_layers: int) -> Flow:
    """Stacks `num_layers` layers of one flow, each with its own parameters.

    The layers run in a scan, so compile time does not grow with depth.

    In float32, deep flows with large weights lose digits. The table gives the largest error of the inverse's
    log-determinant against float64, in nats, in 8 dimensions. Noise of the given scale was added to all weights of the
    networks.

    | layers | noise | error |
    |---|---|---|
    | 4 affine couplings | 0.1 | 0.02 |
    | 8 affine couplings | 0.1 | 16 |
    | 1 affine coupling | 0.3 | 0.0003 |
    | 4 affine couplings | 0.3 | 20 |
    | 4 masked autoregressive layers | 0.3 | 0.00001 |

    Args:
        flow: the flow of one layer.
        num_layers: number of layers.

    Returns:
        A flow whose parameters are those of `flow` with a leading axis [num_layers].

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> params = vp.repeat(vp.affine_coupling(2, hidden=(4,)), 8).init(jax.random.key(0))
        >>> params["first"]["Dense_0"]["kernel"].shape
        (8, 1, 4)
    """
    check_positive_integer(num_layers=num_layers)

    def init(key: jax.Array) -> Any:
        return jax.vmap(flow.init)(jax.random.split(key, num_layers))

    def forward(params: Any, context: dict[str, Any], value: jax.Array) -> tuple[jax.Array, jax.Array]:
        def layer(value: jax.Array, layer_params: Any) -> tuple[jax.Array, jax.Array]:
            return flow.apply(layer_params, **context).forward_and_log_det(value)

        value, log_dets = scan(layer, value, params, num_layers)
        return value, jnp.sum(log_dets)

    def inverse(params: Any, context: dict[str, Any], value: jax.Array) -> tuple[jax.Array, jax.Array]:
        def layer(value: jax.Array, layer_params: Any) -> tuple[jax.Array, jax.Array]:
            return flow.apply(layer_params, **context).inverse_and_log_det(value)

        value, log_dets = scan(layer, value, params, num_layers, reverse=True)
        return value, jnp.sum(log_dets)

    def apply(params: Any, **context: Any) -> FlowBijector:
        return FlowBijector(forward, inverse, params, context)

    return Flow(init, apply, {})
