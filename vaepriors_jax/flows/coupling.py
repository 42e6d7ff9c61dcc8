"""Coupling layers: each half of the vector is transformed, given the other half, by a map of scalars."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.base import Flow
from vaepriors_jax.checks import check_positive_integer, check_shape
from vaepriors_jax.conditioning import Conditioner, check_condition, condition_vector, run_network
from vaepriors_jax.flows.bijector import FlowBijector

# (raw parameters [n, num_parameters], vector [n]) -> (vector [n], log-derivatives [n])
ScalarMap = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def coupling(
    dim: int,
    num_parameters: int,
    forward_map: ScalarMap,
    inverse_map: ScalarMap,
    *,
    hidden: tuple[int, ...],
    num_classes: int | None,
    condition_dim: int | None,
) -> Flow:
    r"""One layer of two complementary couplings around a map g of scalars.

    $z_a = g(u_a; h_a(u_b, y))$, then $z_b = g(u_b; h_b(z_a, y))$, with a and b the two halves of the vector.
    """
    check_positive_integer(dim=dim)
    if dim < 2:
        raise ValueError(
            f"Expected `dim` >= 2 for a coupling flow; got {dim}. Use `masked_autoregressive`, or a mixture prior."
        )
    hidden = check_shape("hidden", hidden)
    check_condition(num_classes, condition_dim, required=False)
    size_a = dim // 2
    size_b = dim - size_a
    net_a = Conditioner(hidden, size_a * num_parameters)
    net_b = Conditioner(hidden, size_b * num_parameters)
    condition_size = num_classes or condition_dim
    no_condition = None if condition_size is None else jnp.zeros(condition_size)

    def init(key: jax.Array) -> Any:
        key_a, key_b = jax.random.split(key)
        return {
            "first": net_a.init(key_a, jnp.zeros(size_b), no_condition)["params"],
            "second": net_b.init(key_b, jnp.zeros(size_a), no_condition)["params"],
        }

    def raw_a(params: Any, context: dict[str, Any], b: jax.Array) -> jax.Array:
        y = condition_vector(context, num_classes, condition_dim)
        return run_network(net_a, params["first"], b, y).reshape(size_a, num_parameters)

    def raw_b(params: Any, context: dict[str, Any], a: jax.Array) -> jax.Array:
        y = condition_vector(context, num_classes, condition_dim)
        return run_network(net_b, params["second"], a, y).reshape(size_b, num_parameters)

    def forward(params: Any, context: dict[str, Any], u: jax.Array) -> tuple[jax.Array, jax.Array]:
        a, b = u[:size_a], u[size_a:]
        a, log_det_a = forward_map(raw_a(params, context, b), a)
        b, log_det_b = forward_map(raw_b(params, context, a), b)
        return jnp.concatenate([a, b]), jnp.sum(log_det_a) + jnp.sum(log_det_b)

    def inverse(params: Any, context: dict[str, Any], z: jax.Array) -> tuple[jax.Array, jax.Array]:
        a, b = z[:size_a], z[size_a:]
        b, log_det_b = inverse_map(raw_b(params, context, a), b)
        a, log_det_a = inverse_map(raw_a(params, context, b), a)
        return jnp.concatenate([a, b]), jnp.sum(log_det_a) + jnp.sum(log_det_b)

    def apply(params: Any, **context: Any) -> FlowBijector:
        return FlowBijector(forward, inverse, params, context, dim)

    return Flow(init, apply, {})
