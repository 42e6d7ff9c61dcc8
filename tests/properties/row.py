"""One function of parameters and a value, and the properties that are tested at every point."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

SHIFT = 1e-5  # from a tie to the points beside it
STEP = 1e-8  # of central differences, which do not reach back to the tie


class Row(NamedTuple):
    """A function, such as a log-density, and how its arguments are drawn.

    Attributes:
        name: what a test is called.
        function: `function(params, value)` gives a number.
        arguments: a strategy of pairs (params, value): trees of arrays in float32, always of the same shapes.
        reference: the number in float64 without the library; None where it says nothing.
        tolerance: of float32 against float64, relative to 1 + |number|.
        reference_tolerance: of float64 against the reference.
        may_be_nothing: whether minus infinity is a right answer.
    """

    name: str
    function: Callable[[Any, jax.Array], jax.Array]
    arguments: st.SearchStrategy
    reference: Callable[[Any, np.ndarray], float | None] | None = None
    tolerance: float = 2e-5
    reference_tolerance: float = 1e-7
    may_be_nothing: bool = False

    def __repr__(self) -> str:
        return self.name


class Derivatives(NamedTuple):
    """A number, its gradient, and the Hessian times one direction; at one point or at many."""

    value: np.ndarray
    gradient: np.ndarray
    curvature: np.ndarray

    def __getitem__(self, rows: Any) -> "Derivatives":
        return Derivatives(*(leaf[rows] for leaf in tuple(self)))


@cache
def program(row: Row, structure: Any, shapes: tuple[tuple[int, ...], ...]) -> Callable[[Any, Any], Any]:
    """What is compiled once for each row and dtype; it reads flat vectors, whatever the tree of its arguments is.

    It gives the number at the first point, which is computed without derivatives, and the derivatives at all points.
    """
    sizes = np.cumsum([int(np.prod(shape)) for shape in shapes])

    def value(flat: jax.Array) -> jax.Array:
        parts = jnp.split(flat, sizes[:-1])
        leaves = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return row.function(*jax.tree.unflatten(structure, leaves))

    def derivatives(flat: jax.Array, direction: jax.Array) -> tuple[jax.Array, ...]:
        (number, gradient), (_, curvature) = jax.jvp(jax.value_and_grad(value), (flat,), (direction,))
        return number, gradient, curvature

    def both(points: jax.Array, direction: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        return value(points[0]), jax.vmap(derivatives, (0, None))(points, direction)

    return jax.jit(both)


def shifts(rng: np.random.Generator, num_params: int, num_values: int) -> np.ndarray:
    """Pairs of opposite shifts: between them every coordinate of the value moves to both sides of where it is."""
    num_pairs = min(8, 2 ** max(0, num_values - 1))
    signs = np.array([[1 if pair >> i & 1 else -1 for i in range(num_values)] for pair in range(num_pairs)])
    # Parameters move less, so that no knot follows the value.
    params = 0.1 * rng.choice([-1, 1], (num_pairs, num_params)) * rng.uniform(0.5, 1, (num_pairs, num_params))
    params /= np.sqrt(max(1, num_params))
    both = np.concatenate([params, signs * rng.uniform(2, 3, signs.shape)], axis=1)
    return SHIFT * np.concatenate([both, -both])


def check(row: Row, params: Any, value: np.ndarray, seed: int) -> None:
    """Raises AssertionError where a property does not hold."""
    leaves, structure = jax.tree.flatten((params, value))
    compiled = program(row, structure, tuple(np.shape(leaf) for leaf in leaves))
    flat = np.concatenate([np.ravel(leaf) for leaf in leaves]).astype(np.float32)
    rng, num_values = np.random.default_rng(seed), np.size(value)
    direction = rng.normal(size=flat.size) / np.sqrt(flat.size)
    beside = flat.astype(np.float64) + shifts(rng, flat.size - num_values, num_values)
    points = np.concatenate(
        [flat[None].astype(np.float64), beside, beside + STEP * direction, beside - STEP * direction]
    )
    with jax.enable_x64(True):
        found = Derivatives(*map(np.asarray, compiled(points, direction)[1]))
    at, (near, ahead, behind) = found[0], (found[part] for part in np.split(np.arange(1, len(points)), 3))
    alone, batch = compiled(points[:3].astype(np.float32), np.float32(direction))
    batch = Derivatives(*map(np.asarray, batch))
    assert (found.value.dtype, batch.value.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(alone, batch.value[0], rtol=row.tolerance, atol=row.tolerance)
    for one in (at, batch[0]):
        assert np.isfinite(one.gradient).all(), one
        assert np.isfinite(one.curvature).all(), one
    if np.isneginf(at.value):
        assert row.may_be_nothing
        assert np.isneginf(batch.value[0])
        assert not at.gradient.any()
        return
    check_values(row, params, value, at.value, batch.value[0])
    check_beside(near, ahead, behind, direction)
    check_at(row, at, batch[0], near, direction)


def check_values(row: Row, params: Any, value: np.ndarray, double: np.ndarray, single: np.ndarray) -> None:
    assert np.isfinite(double)
    np.testing.assert_allclose(single, double, rtol=row.tolerance, atol=row.tolerance)
    if row.reference is not None:
        arguments = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), (params, value))
        expected = row.reference(*arguments)
        if expected is not None:
            np.testing.assert_allclose(double, expected, rtol=row.reference_tolerance, atol=row.reference_tolerance)


def check_beside(near: Derivatives, ahead: Derivatives, behind: Derivatives, direction: np.ndarray) -> None:
    """Away from ties derivatives are those of differences."""
    slope, bend = near.gradient @ direction, near.curvature @ direction
    size = np.abs(near.gradient) @ np.abs(direction)
    noise = 1e-6 * (1 + np.abs(near.value))
    error = np.abs(slope - (ahead.value - behind.value) / (2 * STEP))
    np.testing.assert_array_less(error, 1e-5 * size + noise)
    error = np.abs(bend - (ahead.gradient - behind.gradient) @ direction / (2 * STEP))
    np.testing.assert_array_less(error, 1e-4 * (np.abs(near.curvature) @ np.abs(direction) + size) + noise)


def check_at(row: Row, at: Derivatives, single: Derivatives, near: Derivatives, direction: np.ndarray) -> None:
    """At a tie derivatives lie between those beside it, to all sides of it."""
    slopes, bends = near.gradient @ direction, near.curvature @ direction
    size = 1 + (np.abs(near.gradient) @ np.abs(direction)).max()
    bend = np.abs(near.curvature).sum(1).max()  # times the shift, the change of the slope
    check_between(at.gradient @ direction, slopes, 1e-5 * size + 3 * SHIFT * bend)
    check_between(single.gradient @ direction, slopes, 50 * row.tolerance * size)
    if np.ptp(slopes) < 1e-2 * size:  # at a kink there is no second derivative
        check_between(at.curvature @ direction, bends, 1e-2 * (bend + size))


def check_between(found: np.ndarray, beside: np.ndarray, tolerance: float) -> None:
    assert beside.min() - tolerance <= found <= beside.max() + tolerance, (found, beside, tolerance)


# Numbers that hold no ties by themselves, and those where formulas switch, arguments coincide or intervals end.
def numbers(limit: float, *special: float) -> st.SearchStrategy[float]:
    ordinary = st.floats(-limit, limit, width=32, allow_subnormal=False)
    return st.one_of(st.sampled_from([float(np.float32(one)) for one in special]), ordinary) if special else ordinary


def arrays(shape: tuple[int, ...], limit: float, *special: float) -> st.SearchStrategy[np.ndarray]:
    size = int(np.prod(shape))
    drawn = st.lists(numbers(limit, *special), min_size=size, max_size=size)
    return drawn.map(lambda entries: np.asarray(entries, np.float32).reshape(shape))
