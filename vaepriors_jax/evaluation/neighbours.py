"""Nearest neighbours among features [N, F], exact and in chunks of constant memory."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.evaluation.feature_sets import check_features

# Distances held at a time: 32 MiB of float32.
_CHUNK_ENTRIES = 2**23


def _squared_distances(point: jax.Array, reference: jax.Array) -> jax.Array:
    """Squared distances [M] from one point [F], by an exact product."""
    norms = jnp.sum(point**2) + jnp.sum(reference**2, axis=1)
    squared = norms - 2 * jnp.matmul(point, reference.T, precision=jax.lax.Precision.HIGHEST)
    # Cancellation leaves noise of this size: below it two points are the same, and a copy is at distance 0.
    return jnp.where(squared > 16 * jnp.finfo(norms.dtype).eps * norms, squared, 0.0)


@partial(jax.jit, static_argnums=(2, 3))
def _nearest(points: jax.Array, reference: jax.Array, k: int, rows: int) -> jax.Array:
    def one(point: jax.Array) -> jax.Array:
        squared = _squared_distances(point, reference)
        return jnp.min(squared, keepdims=True) if k == 1 else -jax.lax.top_k(-squared, k)[0]

    return jax.lax.map(one, points, batch_size=rows)


@partial(jax.jit, static_argnums=(3, 4))
def _count_balls(points: jax.Array, centres: jax.Array, squared_radii: jax.Array, closed: bool, rows: int) -> jax.Array:
    def one(point: jax.Array) -> jax.Array:
        squared = _squared_distances(point, centres)
        return jnp.sum(squared <= squared_radii if closed else squared < squared_radii)

    return jax.lax.map(one, points, batch_size=rows)


def _rows(points: jax.Array, reference: jax.Array) -> int:
    return max(1, min(len(points), _CHUNK_ENTRIES // len(reference)))


def nearest(points: jax.Array, reference: jax.Array, k: int) -> jax.Array:
    """Squared distances [N, k] to the k nearest members of `reference`, nearest first."""
    return _nearest(points, reference, k, _rows(points, reference))


def count_balls(points: jax.Array, centres: jax.Array, squared_radii: jax.Array, *, closed: bool) -> jax.Array:
    """Number of balls around `centres` that hold each point [N]; closed balls hold their surface."""
    return _count_balls(points, centres, squared_radii, closed, _rows(points, centres))


def radii_of(x: jax.Array, k: int) -> jax.Array:
    """Squared distance [N] of each point to its k-th neighbour; the nearest of all is the point itself."""
    return nearest(x, x, k + 1)[:, -1]


def centred(first: np.ndarray, *others: np.ndarray) -> list[jax.Array]:
    """All sets, with the mean of the first as the origin, where products of float32 keep most digits."""
    origin = first.mean(0, dtype=np.float64)
    return [jnp.asarray(array - origin, dtype=float) for array in (first, *others)]


def nearest_distances(points: Any, reference: Any) -> np.ndarray:
    """Euclidean distance from each point to the nearest member of a reference set, in chunks of constant memory.

    Args:
        points: features [N, F].
        reference: features [M, F].

    Returns:
        Distances [N]; those of copies are 0.

    Raises:
        ValueError: no samples, not finite, or unequal F.

    Example:
        >>> import numpy as np
        >>> from vaepriors_jax.evaluation.samples import nearest_distances
        >>> nearest_distances(np.array([[3.0, 4.0], [7.0, 1.0]]), np.array([[0.0, 0.0], [7.0, 1.0]])).tolist()
        [5.0, 0.0]
    """
    points, reference = check_features("points", points), check_features("reference", reference)
    if points.shape[1] != reference.shape[1]:
        raise ValueError(f"Expected as many features in both sets; got {points.shape[1]} and {reference.shape[1]}.")
    y, x = centred(reference, points)
    return np.sqrt(np.asarray(nearest(x, y, 1)[:, 0]))
