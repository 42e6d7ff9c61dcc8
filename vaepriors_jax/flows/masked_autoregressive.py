"""Masked autoregressive flow (MAF; IAF through `invert`)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from vaepriors_jax.base import Flow
from vaepriors_jax.checks import check_positive, check_positive_integer, check_shape
from vaepriors_jax.conditioning import check_condition, condition_vector, run_network
from vaepriors_jax.factories import factory
from vaepriors_jax.flows.affine_coupling import affine_forward, affine_inverse
from vaepriors_jax.flows.bijector import FlowBijector


class MaskedDense(nn.Module):
    """A dense layer whose kernel is multiplied by a fixed mask [inputs, outputs]."""

    mask: np.ndarray
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [inputs] to [outputs]."""
        kernel = self.param("kernel", self.kernel_init, self.mask.shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, self.mask.shape[1:], jnp.float32)
        masked = kernel * self.mask.astype(kernel.dtype)
        return jnp.matmul(inputs, masked, precision=Precision.HIGHEST) + bias


class MADE(nn.Module):
    """Outputs [dim, 2] of which row i reads only inputs before i, and the condition."""

    dim: int
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, inputs: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Maps [dim], and a condition [C] if there is one, to [dim, 2]."""
        degrees = np.arange(1, self.dim + 1)
        for width in self.hidden:
            # Degrees from 0, so that a one-dimensional flow, and the first dimension, still read the condition.
            hidden_degrees = np.arange(width) % self.dim
            linear = MaskedDense((degrees[:, None] <= hidden_degrees[None, :]).astype(np.float32))(inputs)
            if condition is not None:
                linear += nn.Dense(width, use_bias=False, precision=Precision.HIGHEST)(condition.astype(inputs.dtype))
            inputs, degrees = nn.silu(linear), hidden_degrees
            condition = None  # the first layer reads it
        mask = np.repeat((degrees[:, None] < np.arange(1, self.dim + 1)[None, :]).astype(np.float32), 2, axis=1)
        return MaskedDense(mask, kernel_init=nn.initializers.zeros)(inputs).reshape(self.dim, 2)


@partial(jax.jit, static_argnums=(0, 1))
def _fill(
    network: MADE, max_log_scale: float, params: Any, condition: jax.Array | None, u: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """z and the log-determinant, in as many passes as z has dimensions; compiled once."""

    def raw(z: jax.Array) -> jax.Array:
        return run_network(network, params, z, condition)

    def fill(z: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        # Pass i is right in all dimensions up to i.
        return affine_forward(raw(z), u, max_log_scale)[0], None

    z, _ = jax.lax.scan(fill, jnp.zeros_like(u), jnp.arange(network.dim))
    return z, jnp.sum(affine_forward(raw(z), u, max_log_scale)[1])


@factory
def masked_autoregressive(
    dim: int,
    *,
    hidden: tuple[int, ...] = (64, 64),
    max_log_scale: float = 2.0,
    num_classes: int | None = None,
    condition_dim: int | None = None,
) -> Flow:
    r"""Masked autoregressive layer: $z_i = u_i\, e^{s_i(z_{<i})} + t_i(z_{<i})$.

    The density of z takes one pass (from z to u), a sample `dim` passes. `invert` turns that around (IAF). The order of
    dimensions is that of the vector: put `permute(dim)` between layers.

    Args:
        dim: dimension of z, at least 1.
        hidden: widths of the network's hidden layers.
        max_log_scale: bound on |s|, through $s = c \tanh(r / c)$.
        num_classes: if given, the network reads a label `y`.
        condition_dim: if given, the network reads a vector `y` [condition_dim].

    Context:
        y: the label or vector, if the flow is conditional.

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
    check_positive_integer(dim=dim)
    check_positive(max_log_scale=max_log_scale)
    check_condition(num_classes, condition_dim, required=False)
    network = MADE(dim, check_shape("hidden", hidden), parent=None)  # not that of a module that calls the factory
    condition_size = num_classes or condition_dim

    def init(key: jax.Array) -> Any:
        condition = None if condition_size is None else jnp.zeros(condition_size)
        return network.init(key, jnp.zeros(dim), condition)["params"]

    def raw(params: Any, context: dict[str, Any], z: jax.Array) -> jax.Array:
        return run_network(network, params, z, condition_vector(context, num_classes, condition_dim))

    def forward(params: Any, context: dict[str, Any], u: jax.Array) -> tuple[jax.Array, jax.Array]:
        return _fill(network, max_log_scale, params, condition_vector(context, num_classes, condition_dim), u)

    def inverse(params: Any, context: dict[str, Any], z: jax.Array) -> tuple[jax.Array, jax.Array]:
        u, log_det = affine_inverse(raw(params, context, z), z, max_log_scale)
        return u, jnp.sum(log_det)

    def apply(params: Any, **context: Any) -> FlowBijector:
        return FlowBijector(forward, inverse, params, context, dim)

    return Flow(init, apply, {})
