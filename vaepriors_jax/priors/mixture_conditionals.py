"""What autoregressive priors share: mixtures of Gaussians as conditionals, of parameters that a network adds to."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import rows_of_shape
from vaepriors_jax.distributions.normal import LARGEST_LOG_SCALE
from vaepriors_jax.priors.init_from_data import as_params, clusters, host_generator

NAMES = ("logits", "loc", "log_scale")


def initial_conditionals(key: jax.Array, dim: int, num_components: int, spread: float) -> dict[str, jax.Array]:
    """Parameters [dim, num_components] of independent dimensions, with means at random."""
    zeros = jnp.zeros((dim, num_components))
    return {"logits": zeros, "loc": spread * jax.random.normal(key, zeros.shape), "log_scale": zeros}


def conditionals_from_data(key: jax.Array, z: Any, dim: int, num_components: int) -> Any:
    """Parameters [dim, num_components] by k-means on each dimension of encodings z [N, dim]."""
    rows, generator = rows_of_shape("z", z, (dim,)), host_generator(key)
    found = [clusters(rows[:, i : i + 1], num_components, generator) for i in range(dim)]
    return as_params({name: np.stack([one[name].reshape(-1) for one in found]) for name in NAMES})


def moved_conditionals(params: Any, outputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Log-weights, means and scales [..., K] of parameters [..., K], to which outputs [..., 3 K] are added."""
    moves = zip(NAMES, jnp.split(outputs, len(NAMES), axis=-1), strict=True)
    logits, loc, log_scale = (params[name] + move for name, move in moves)
    scale = jnp.exp(jnp.clip(log_scale, -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))
    return jax.nn.log_softmax(logits, axis=-1), loc, scale
