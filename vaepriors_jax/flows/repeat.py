"""One flow, repeated with parameters of its own each time."""

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
    """Applies a flow `num_layers` times, each layer with parameters of its own.

    The layers are scanned: compile time does not grow with depth.

    In float32, depth and large weights cost digits. With every weight of the networks moved by N(0, 0.1^2) from its
    start, in 8 dimensions, log-determinants of the inverse are within 0.02 nats of float64 for 4 affine couplings, and
    off by 16 at worst for 8; moved by 0.3, one coupling is right to 3e-4 and four are off by 20. Four masked
    autoregressive layers are right to 1e-5 in the latter case.

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
