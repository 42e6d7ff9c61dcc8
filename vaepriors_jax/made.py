"""The masked network of autoregressive flows and priors (MADE)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision


class MaskedDense(nn.Module):
    """A dense layer whose kernel is multiplied by a fixed mask [inputs, outputs]."""

    mask: np.ndarray
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    use_bias: bool = True

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [inputs] to [outputs]."""
        kernel = self.param("kernel", self.kernel_init, self.mask.shape, jnp.float32)
        masked = kernel * self.mask.astype(kernel.dtype)
        outputs = jnp.matmul(inputs, masked, precision=Precision.HIGHEST)
        if not self.use_bias:
            return outputs
        return outputs + self.param("bias", nn.initializers.zeros, self.mask.shape[1:], jnp.float32)


class MADE(nn.Module):
    """Masked network with outputs [dim, P], whose row i depends only on the inputs before i and on the condition."""

    dim: int
    num_parameters: int
    hidden: tuple[int, ...]
    use_bias: bool = True  # of the last layer

    @nn.compact
    def __call__(self, inputs: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Maps [dim], and a condition [C] if there is one, to [dim, P]."""
        degrees = np.arange(1, self.dim + 1)
        for width in self.hidden:
            # Degrees start at 0, so that the first dimension, and a one-dimensional flow, still read the condition.
            hidden_degrees = np.arange(width) % self.dim
            linear = MaskedDense((degrees[:, None] <= hidden_degrees[None, :]).astype(np.float32))(inputs)
            if condition is not None:
                linear += nn.Dense(width, use_bias=False, precision=Precision.HIGHEST)(condition.astype(inputs.dtype))
            inputs, degrees = nn.silu(linear), hidden_degrees
            condition = None  # only the first layer reads it
        mask = (degrees[:, None] < np.arange(1, self.dim + 1)[None, :]).astype(np.float32)
        mask = np.repeat(mask, self.num_parameters, axis=1)
        outputs = MaskedDense(mask, kernel_init=nn.initializers.zeros, use_bias=self.use_bias)(inputs)
        return outputs.reshape(self.dim, self.num_parameters)
