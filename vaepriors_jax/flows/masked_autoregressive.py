"""Masked autoregressive flow (MAF; IAF through `invert`)."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.base import Flow
from vaepriors_jax.checks import check_positive, check_positive_integer, check_shape
from vaepriors_jax.conditioning import Condition, check_condition, run_network
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.affine_coupling import Affine
from vaepriors_jax.flows.bijector import FlowBijector
from vaepriors_jax.flows.scalar_map import ScalarMap
from vaepriors_jax.made import MADE


@partial(jax.jit, static_argnums=(0, 1))
def _fill(
    network: MADE, scalar_map: ScalarMap, params: Any, condition: jax.Array | None, u: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """z and the log-determinant, in as many passes as z has dimensions; compiled once."""

    def raw(z: jax.Array) -> jax.Array:
        return run_network(network, params, z, condition)

    def fill(z: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        # After pass i all dimensions up to i are right.
        return scalar_map.forward(raw(z), u)[0], None

    z, _ = jax.lax.scan(fill, jnp.zeros_like(u), jnp.arange(network.dim))
    return z, jnp.sum(scalar_map.forward(raw(z), u)[1])


def autoregressive(dim: int, scalar_map: ScalarMap, hidden: tuple[int, ...], condition: Condition) -> Flow:
    r"""One layer $z_i = g(u_i; h_i(z_{<i}, y))$ around a map g of scalars."""
    check_positive_integer(dim=dim)
    check_condition(*condition, required=False)
    # No `parent`: the network does not belong to a Linen module that calls the factory.
    network = MADE(dim, scalar_map.num_parameters, check_shape("hidden", hidden), parent=None)

    def init(key: jax.Array) -> Any:
        return network.init(key, jnp.zeros(dim), condition.placeholder())["params"]

    def forward(params: Any, context: dict[str, Any], u: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _fill(network, scalar_map, params, condition.vector(context), u)

    def inverse(params: Any, context: dict[str, Any], z: jax.Array) -> tuple[jax.Array, jax.Array]:
        u, log_det = scalar_map.inverse(run_network(network, params, z, condition.vector(context)), z)
        return u, jnp.sum(log_det)

    def apply(params: Any, **context: Any) -> FlowBijector:
        return FlowBijector(forward, inverse, params, context, dim)

    return Flow(init, apply, {})


@factory
def masked_autoregressive(
    dim: int,
    *,
    hidden: tuple[int, ...] = (64, 64),
    max_log_scale: float = 2.0,
    num_classes: int | None = None,
    condition_dim: int | None = None,
    condition: str = "y",
) -> Flow:
    r"""Masked autoregressive layer: $z_i = u_i\, e^{s_i(z_{<i})} + t_i(z_{<i})$.

    The density of z takes one pass of the network (from z to u), a sample `dim` passes; `invert` exchanges the two
    (IAF). Dimensions depend on those before them in the vector, so put `permute(dim)` between layers.

    In float32 it loses less in deep stacks than couplings do: 16 layers of width 64 hold the log-determinant to 1e-5
    nats where every weight is moved by N(0, 0.1^2); see the table in `repeat`.

    Args:
        dim: dimension of z, at least 1.
        hidden: widths of the network's hidden layers.
        max_log_scale: bound on |s|, through $s = c \tanh(r / c)$.
        num_classes: if given, the network reads a label `y`.
        condition_dim: if given, the network reads a vector `y` [condition_dim].
        condition: the name of y: the entry of the batch that holds it.

    Context:
        y: the label or vector, if the flow is conditional; or an entry of the name that `condition` gives.

    Returns:
        A flow that starts as the identity.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> maf = vp.repeat(vp.chain(vp.masked_autoregressive(3), vp.permute(3)), 5)
        >>> prior = vp.transformed(vp.standard_normal(3), maf)
        >>> params = prior.init(jax.random.key(0))
        >>> prior.apply(params).sample(seed=jax.random.key(1)).shape
        (3,)

    References:
        Papamakarios, Pavlakou & Murray (2017), Masked autoregressive flow for density estimation, eqs. 3-5; Germain et
        al. (2015), MADE. Here the log-scale is bounded, and hidden degrees start at 0.
    """
    check_positive(max_log_scale=max_log_scale)
    return autoregressive(dim, Affine(max_log_scale), hidden, Condition(num_classes, condition_dim, condition))
