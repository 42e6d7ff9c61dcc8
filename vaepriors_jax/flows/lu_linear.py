"""An invertible linear map by its LU decomposition."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jax.scipy.linalg import solve_triangular

from vaepriors_jax.base import Flow
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.bijector import FlowBijector


@factory
def lu_linear(dim: int) -> Flow:
    r"""Linear layer $z = L U u$, with L lower triangular of unit diagonal and U upper triangular of positive diagonal.

    The log-determinant is the sum of the logarithms of U's diagonal, and the inverse solves two triangular systems:
    both directions cost $O(D^2)$. The matrix mixes all dimensions; it has no shift, which `act_norm` adds.

    Args:
        dim: dimension D of z.

    Returns:
        A flow that starts as the identity, with one parameter `lu` [dim, dim]: L below the diagonal, U above it, and
        the logarithm of U's diagonal on it.

    Raises:
        ValueError: `dim` is not an integer of at least 1.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> bijector = vp.lu_linear(2).apply({"lu": jnp.array([[0.0, 2.0], [3.0, 0.0]])})
        >>> bijector.forward(jnp.array([1.0, 1.0]))  # [[1, 0], [3, 1]] @ [[1, 2], [0, 1]] @ u
        Array([ 3., 10.], dtype=float32)

    References:
        Kingma & Dhariwal (2018), Glow, eqs. 10-11. There a fixed random permutation comes before L, and U's diagonal
        may be negative: put a `permute` beside this layer for the first.
    """
    check_positive_integer(dim=dim)

    def factors(params: Any, dtype: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
        lu = params["lu"].astype(dtype)
        log_diagonal, identity = jnp.diagonal(lu), jnp.eye(dim, dtype=dtype)
        return jnp.tril(lu, -1) + identity, jnp.triu(lu, 1) + jnp.exp(log_diagonal) * identity, jnp.sum(log_diagonal)

    def forward(params: Any, context: dict[str, Any], u: jax.Array) -> tuple[jax.Array, jax.Array]:
        del context
        lower, upper, log_det = factors(params, u.dtype)
        inner = jnp.matmul(upper, u, precision=Precision.HIGHEST)
        return jnp.matmul(lower, inner, precision=Precision.HIGHEST), log_det

    def inverse(params: Any, context: dict[str, Any], z: jax.Array) -> tuple[jax.Array, jax.Array]:
        del context
        lower, upper, log_det = factors(params, z.dtype)
        inner = solve_triangular(lower, z, lower=True, unit_diagonal=True)
        return solve_triangular(upper, inner), -log_det

    def init(key: jax.Array) -> Any:
        del key
        return {"lu": jnp.zeros((dim, dim), jnp.float32)}

    def apply(params: Any, **context: Any) -> FlowBijector:
        return FlowBijector(forward, inverse, params, context, dim)

    return Flow(init, apply, {})
