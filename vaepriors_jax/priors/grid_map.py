"""A map from a fixed grid into a space of vectors: a plane plus a network, for topographic priors."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_shape
from vaepriors_jax.conditioning import Conditioner, run_network

MOST_POINTS = 10**6


def check_grid(grid_shape: Any) -> tuple[int, ...]:
    """Returns the shape of a grid, or raises ValueError."""
    grid_shape = check_shape("grid_shape", grid_shape)
    if (points := float(np.prod(grid_shape, dtype=float))) > MOST_POINTS:
        raise ValueError(f"Expected a grid of at most {MOST_POINTS:,} points; {grid_shape} has {points:,.0f}.")
    return grid_shape


def grid_points(grid_shape: tuple[int, ...]) -> np.ndarray:
    """The points of a grid on [-1, 1] along each axis: [K, len(grid_shape)]."""
    axes = [np.linspace(-1, 1, size) if size > 1 else np.zeros(1) for size in grid_shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(grid_shape))


def init_map(key: jax.Array, network: Conditioner, grid_dim: int, spread: jax.Array | float) -> dict[str, Any]:
    """Parameters of a map that starts as a random plane through 0, since the network starts at 0."""
    key_network, key_plane = jax.random.split(key)
    plane = spread * jax.random.normal(key_plane, (grid_dim, network.num_outputs))
    return {"plane": plane, "network": network.init(key_network, jnp.zeros(grid_dim))["params"]}


def apply_map(network: Conditioner, params: Any, points: np.ndarray) -> jax.Array:
    """The images [K, num_outputs] of the points of a grid."""
    grid = jnp.asarray(points, params["plane"].dtype)
    curved = jax.vmap(lambda point: run_network(network, params["network"], point))(grid)
    return jnp.dot(grid, params["plane"], precision=jax.lax.Precision.HIGHEST) + curved


def principal_plane(rows: np.ndarray, grid_dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean [D] of data [N, D], principal directions [grid_dim, D] of two standard deviations, and what is left.

    The last is the variance [D] around the plane. Beyond D or N directions they are 0.
    """
    rows = rows.astype(np.float64)
    mean = rows.mean(0)
    variances, directions = np.linalg.eigh(np.cov(rows, rowvar=False, bias=True).reshape(2 * (rows.shape[1],)))
    count = min(grid_dim, rows.shape[1])
    largest = np.argsort(variances)[::-1][:count]
    plane = np.zeros((grid_dim, rows.shape[1]))
    plane[:count] = 2 * np.sqrt(np.maximum(variances[largest], 0))[:, None] * directions[:, largest].T
    # A direction of an eigenvector has no sign of its own.
    plane *= np.where(plane[np.arange(grid_dim), np.abs(plane).argmax(1)] < 0, -1, 1)[:, None]
    return mean, plane, np.maximum(rows.var(0) - (plane**2 / 4).sum(0), 0)
