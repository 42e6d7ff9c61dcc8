"""Coupling layers: a map of scalars transforms each half of a vector, given the other half."""

from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.base import Flow
from vaepriors_jax.checks import check_positive_integer, check_shape
from vaepriors_jax.conditioning import Condition, Conditioner, check_condition, run_network
from vaepriors_jax.flows.bijector import FlowBijector
from vaepriors_jax.flows.scalar_map import ScalarMap


def coupling(dim: int, scalar_map: ScalarMap, hidden: tuple[int, ...], condition: Condition) -> Flow:
    r"""One layer of two complementary couplings around a map g of scalars.

    $z_a = g(u_a; h_a(u_b, y))$, then $z_b = g(u_b; h_b(z_a, y))$, with a and b the two halves of the vector.
    """
    check_positive_integer(dim=dim)
    if dim < 2:
        raise ValueError(
            f"Expected `dim` >= 2 for a coupling flow; got {dim}. Use `masked_autoregressive`, or a mixture prior."
        )
    hidden = check_shape("hidden", hidden)
    check_condition(*condition, required=False)
    size_a = dim // 2
    size_b = dim - size_a
    net_a = Conditioner(hidden, size_a * scalar_map.num_parameters)
    net_b = Conditioner(hidden, size_b * scalar_map.num_parameters)

    def init(key: jax.Array) -> Any:
        key_a, key_b = jax.random.split(key)
        return {
            "first": net_a.init(key_a, jnp.zeros(size_b), condition.placeholder())["params"],
            "second": net_b.init(key_b, jnp.zeros(size_a), condition.placeholder())["params"],
        }

    def raw_a(params: Any, context: dict[str, Any], b: jax.Array) -> jax.Array:
        return run_network(net_a, params["first"], b, condition.vector(context)).reshape(size_a, -1)

    def raw_b(params: Any, context: dict[str, Any], a: jax.Array) -> jax.Array:
        return run_network(net_b, params["second"], a, condition.vector(context)).reshape(size_b, -1)

    def forward(params: Any, context: dict[str, Any], u: jax.Array) -> tuple[jax.Array, jax.Array]:
        a, b = u[:size_a], u[size_a:]
        a, log_det_a = scalar_map.forward(raw_a(params, context, b), a)
        b, log_det_b = scalar_map.forward(raw_b(params, context, a), b)
        return jnp.concatenate([a, b]), jnp.sum(log_det_a) + jnp.sum(log_det_b)

    def inverse(params: Any, context: dict[str, Any], z: jax.Array) -> tuple[jax.Array, jax.Array]:
        a, b = z[:size_a], z[size_a:]
        b, log_det_b = scalar_map.inverse(raw_b(params, context, a), b)
        a, log_det_a = scalar_map.inverse(raw_a(params, context, b), a)
        return jnp.concatenate([a, b]), jnp.sum(log_det_a) + jnp.sum(log_det_b)

    def apply(params: Any, **context: Any) -> FlowBijector:
        return FlowBijector(forward, inverse, params, context, dim)

    return Flow(init, apply, {})
