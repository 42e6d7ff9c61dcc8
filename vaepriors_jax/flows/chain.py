"""One flow after another."""

from typing import Any

import jax

from vaepriors_jax.base import Flow, pull_back
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.bijector import FlowBijector, no_volume_change


@factory
def chain(*flows: Flow) -> Flow:
    """Applies flows one after another; from u to z, the first argument comes first.

    If one of the flows can start from data, so can the chain. Data z pass the flows from the last to the first; each
    starts from what it gets.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> flow = vp.chain(vp.permute(3, (1, 2, 0)), vp.permute(3))
        >>> flow.apply({"0": {}, "1": {}}).forward(jnp.arange(3.0))
        Array([0., 2., 1.], dtype=float32)
    """
    if not flows:
        raise ValueError("Expected at least one flow to chain; got none.")

    def init(key: jax.Array) -> Any:
        keys = jax.random.split(key, len(flows))
        return {str(i): flow.init(key) for i, (flow, key) in enumerate(zip(flows, keys, strict=True))}

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        params, keys = init(key), jax.random.split(key, len(flows))
        for i, flow in list(enumerate(flows))[::-1]:
            if flow.init_from_data:
                params[str(i)] = flow.init_from_data(keys[i], z=z, **data)
            z = pull_back(flow, params[str(i)], z, data)
        return params

    def forward(params: Any, context: dict[str, Any], value: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = no_volume_change(value)
        for i, flow in enumerate(flows):
            value, log_det = flow.apply(params[str(i)], **context).forward_and_log_det(value)
            total += log_det
        return value, total

    def inverse(params: Any, context: dict[str, Any], value: jax.Array) -> tuple[jax.Array, jax.Array]:
        total = no_volume_change(value)
        for i, flow in reversed(list(enumerate(flows))):
            value, log_det = flow.apply(params[str(i)], **context).inverse_and_log_det(value)
            total += log_det
        return value, total

    def apply(params: Any, **context: Any) -> FlowBijector:
        return FlowBijector(forward, inverse, params, context)

    can_start = any(flow.init_from_data for flow in flows)
    return Flow(init, apply, {}, init_from_data if can_start else None)
