"""Nearest neighbours among features [N, F], exact and in chunks of constant memory."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.evaluation.samples.feature_sets import check_features

# Distances held at a time: 32 MiB of float32.
_CHUNK_ENTRIES = 2**23


# Below this share of the squared norms, a squared distance computed by a product has lost too many digits.
_CANCELLED = 1e-2
# Up to so many of these for each point, such as the point itself and near copies, are computed again one by one; if a
# point has more, all its distances are.
_FEW = 16
# Neighbours that are looked for at least, where it is more than one.
_LEAST_FOUND = 8


def _by_product(point: jax.Array, reference: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared distances [M] from one point [F], and the limits [M] below which they may have lost too many digits."""
    norms = jnp.sum(point**2) + jnp.sum(reference**2, axis=1)
    return norms - 2 * jnp.matmul(point, reference.T, precision=jax.lax.Precision.HIGHEST), _CANCELLED * norms


def _by_difference(point: jax.Array, reference: jax.Array) -> jax.Array:
    return jnp.sum((point - reference) ** 2, axis=1)


def _squared_distances(points: jax.Array, reference: jax.Array) -> jax.Array:
    """Squared distances [N, M]: by a matrix product, and by differences for points that are close to each other.

    The product is many times faster, but its error is 1e-7 of the squared norms: neighbours closer than 1e-3 of the
    norm would be lost in it, and a copy would not be at distance 0.
    """
    squared, limit = jax.vmap(_by_product, in_axes=(0, None))(points, reference)

    def exact(inputs: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        point, squared, cancelled = inputs

        def few() -> jax.Array:
            (rows,) = jnp.nonzero(cancelled, size=_FEW, fill_value=len(reference))
            values = _by_difference(point, reference.at[rows].get(mode="clip"))
            return squared.at[rows].set(values, mode="drop")

        return jax.lax.cond(jnp.sum(cancelled) <= _FEW, few, lambda: _by_difference(point, reference))

    cancelled = squared < limit
    return jax.lax.cond(jnp.any(cancelled), lambda: jax.lax.map(exact, (points, squared, cancelled)), lambda: squared)


def _in_chunks(function: Callable[[jax.Array], jax.Array], points: jax.Array, rows: int) -> jax.Array:
    """Applies a function of points [rows, F] chunk by chunk; the last chunk is padded with copies of its last point."""
    num_points = len(points)
    num_chunks = -(-num_points // rows)
    filled = jnp.pad(points, [(0, num_chunks * rows - num_points), (0, 0)], mode="edge")
    values = jax.lax.map(function, filled.reshape(num_chunks, rows, points.shape[1]))
    return values.reshape(num_chunks * rows, *values.shape[2:])[:num_points]


@partial(jax.jit, static_argnums=(2, 3))
def _nearest(points: jax.Array, reference: jax.Array, k: int, rows: int) -> jax.Array:
    def of_chunk(points: jax.Array) -> jax.Array:
        squared = _squared_distances(points, reference)
        return jnp.min(squared, axis=1, keepdims=True) if k == 1 else -jax.lax.top_k(-squared, k)[0]

    return _in_chunks(of_chunk, points, rows)


@partial(jax.jit, static_argnums=4)
def _count_balls(points: jax.Array, centres: jax.Array, squared_radii: jax.Array, closed: bool, rows: int) -> jax.Array:
    def of_chunk(points: jax.Array) -> jax.Array:
        squared = _squared_distances(points, centres)
        return jnp.sum((squared < squared_radii) | (closed & (squared == squared_radii)), axis=1)

    return _in_chunks(of_chunk, points, rows)


def _rows(points: jax.Array, reference: jax.Array) -> int:
    return max(1, min(len(points), _CHUNK_ENTRIES // len(reference)))


def nearest(points: jax.Array, reference: jax.Array, k: int) -> jax.Array:
    """Squared distances [N, k] to the k nearest members of `reference`, nearest first."""
    # Several k share a program.
    found = 1 if k == 1 else min(max(k, _LEAST_FOUND), len(reference))
    return _nearest(points, reference, found, _rows(points, reference))[:, :k]


def count_balls(points: jax.Array, centres: jax.Array, squared_radii: jax.Array, *, closed: bool) -> jax.Array:
    """Number of balls around `centres` that contain each point [N]; the surface counts if they are `closed`."""
    return _count_balls(points, centres, squared_radii, closed, _rows(points, centres))


def radii_of(x: jax.Array, k: int) -> jax.Array:
    """Squared distance [N] of each point to its k-th neighbour, not counting the point itself."""
    return nearest(x, x, k + 1)[:, -1]


def centred(first: np.ndarray, *others: np.ndarray) -> list[jax.Array]:
    """All sets relative to the mean of the first, where products in float32 keep most digits."""
    origin = first.mean(0, dtype=np.float64)
    return [jnp.asarray(array - origin, dtype=float) for array in (first, *others)]


def nearest_distances(points: Any, reference: Any) -> np.ndarray:
    """Euclidean distance of each point to the nearest member of a reference set, in chunks of constant memory.

    Args:
        points: features [N, F].
        reference: features [M, F].

    Returns:
        Distances [N]; 0 for copies.

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
