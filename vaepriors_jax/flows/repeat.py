"""Several layers of one flow, each with its own parameters."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.base import Flow, pull_back
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.bijector import FlowBijector
from vaepriors_jax.loops import scan


@factory
def repeat(flow: Flow, num_layers: int) -> Flow:
    """Stacks `num_layers` layers of one flow, each with its own parameters.

    The layers run in a scan, so compile time does not grow with depth.

    If the flow can start from data, so can the stack. Data z pass the layers from the last to the first; each starts
    from what it gets.

    In float32, deep and wide flows with large weights lose digits. The table gives the largest errors over 1,000
    samples in 8 dimensions: of the round trip `inverse(forward(u))`, and of the inverse's log-determinant against
    float64, in nats. Weights are trained (by maximum likelihood on digits, 3,000 steps of Adam, which move them by 0.04
    to 0.1), or those of the start with Gaussian noise of the given standard deviation. Width is that of both hidden
    layers.

    | layers | width | weights | round trip | log-determinant |
    |---|---|---|---|---|
    | 16 `affine_coupling` | 64 | trained | 1e-5 | 1e-5 |
    | 8 `affine_coupling` | 256 | trained | 7e-6 | 8e-6 |
    | 8 `spline_coupling` | 64 | trained | 5e-5 | 8e-5 |
    | 8 `masked_autoregressive` | 64 | trained | 1e-5 | 2e-5 |
    | 16 `affine_coupling` | 64 | 0.03 | 6e-5 | 4e-5 |
    | 4 `affine_coupling` | 256 | 0.03 | 1e-5 | 1e-5 |
    | 8 `affine_coupling` | 256 | 0.03 | 2e-2 | 3e-2 |
    | 16 `spline_coupling` | 64 | 0.03 | 6e-5 | 9e-5 |
    | 8 `spline_coupling` | 256 | 0.03 | 1e-2 | 1e-2 |
    | 4 `affine_coupling` | 64 | 0.1 | 2e-3 | 2e-2 |
    | 8 `affine_coupling` | 64 | 0.1 | 6e4 | 2e1 |
    | 4 `spline_coupling` | 64 | 0.1 | 3e0 | 2e1 |
    | 16 `masked_autoregressive` | 64 | 0.1 | 3e-6 | 4e-6 |

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

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        assert flow.init_from_data is not None
        layers, back = [], jax.jit(partial(pull_back, flow))
        for layer_key in jax.random.split(key, num_layers)[::-1]:
            layers.append(flow.init_from_data(layer_key, z=z, **data))
            z = back(layers[-1], z, data)
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *reversed(layers))

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

    return Flow(init, apply, {}, init_from_data if flow.init_from_data else None)
