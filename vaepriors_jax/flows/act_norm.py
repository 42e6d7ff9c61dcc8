"""A shift and a scale for each dimension, which start from data (ActNorm)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Flow
from vaepriors_jax.checks import check_positive_integer, rows_of_shape
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.bijector import FlowBijector


@factory
def act_norm(dim: int) -> Flow:
    r"""Activation normalisation, $z_i = \mu_i + e^{s_i} u_i$.

    `init` makes the identity. `init_from_data` makes the u of data standardised, with mean 0 and variance 1:
    `vp.init_from_data` of a flow prior does so for each layer, from z back to the base variable. A step of Glow is
    `vp.chain(vp.affine_coupling(dim), vp.lu_linear(dim), vp.act_norm(dim))`.

    Args:
        dim: dimension of z.

    Returns:
        A flow with the parameters `loc` and `log_scale` [dim].

    Raises:
        ValueError: `dim` is not an integer of at least 1.

    Example:
        >>> import jax, numpy as np, vaepriors_jax as vp
        >>> prior = vp.transformed(vp.standard_normal(2), vp.act_norm(2))
        >>> z = np.array([[1.0, -3.0], [5.0, 3.0]])
        >>> params = vp.init_from_data(prior, jax.random.key(0), z=z)
        >>> print(params["flow"]["loc"], np.exp(params["flow"]["log_scale"]).round(3))
        [3. 0.] [2. 3.]

    References:
        Kingma & Dhariwal (2018), Glow, section 3.1.
    """
    check_positive_integer(dim=dim)

    def forward(params: Any, context: dict[str, Any], u: jax.Array) -> tuple[jax.Array, jax.Array]:
        del context
        return params["loc"] + jnp.exp(params["log_scale"]) * u, jnp.sum(params["log_scale"]).astype(u.dtype)

    def inverse(params: Any, context: dict[str, Any], z: jax.Array) -> tuple[jax.Array, jax.Array]:
        del context
        return (z - params["loc"]) * jnp.exp(-params["log_scale"]), -jnp.sum(params["log_scale"]).astype(z.dtype)

    def init(key: jax.Array) -> Any:
        del key
        return {name: jnp.zeros(dim, jnp.float32) for name in ("loc", "log_scale")}

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del key, data
        rows = rows_of_shape("z", z, (dim,)).astype(np.float64)
        start = {"loc": rows.mean(0), "log_scale": 0.5 * np.log(rows.var(0) + 1e-6)}
        return {name: jnp.asarray(value, jnp.float32) for name, value in start.items()}

    def apply(params: Any, **context: Any) -> FlowBijector:
        return FlowBijector(forward, inverse, params, context, dim)

    return Flow(init, apply, {}, init_from_data)
