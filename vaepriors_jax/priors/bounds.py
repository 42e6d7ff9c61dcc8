"""A smooth map from real numbers into bounds, for pseudo-inputs: its slope never becomes zero."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# In units of the range: the least distance of a start from either bound, and the distance where the tails begin.
SQUEEZE = 0.002
TAIL = 0.02
UNIT = (0.0, 1.0)
# Saved models hold this number: it tells which map their raw pseudo-inputs are for.
MAP_VERSION = 2


def to_bounds(raw: jax.Array, bounds: tuple[float, float] | None) -> jax.Array:
    r"""Maps real numbers r into the bounds; for [0, 1] the identity between $d = 0.02$ and $1 - d$.

    Below d it is $d^2 / (2 d - r)$, and above $1 - d$ the mirror image: values and slopes agree at the joins. Other
    bounds scale and shift the result, so that a step of r moves the value by the same fraction of the range. The slope
    falls like $r^{-2}$ and never becomes zero. That of a clip is zero outside the bounds, and that of a logistic
    function underflows in float32 beyond 17.
    """
    if bounds is None:
        return raw
    low, high = map(float, bounds)
    upper = raw > 0.5
    from_end = jnp.where(upper, 1 - raw, raw)
    in_tail = from_end < TAIL
    # Each branch is finite where the other one holds, so that no gradient becomes 0 * inf.
    tail = TAIL**2 / (2 * TAIL - jnp.where(in_tail, from_end, TAIL))
    from_end = jnp.where(in_tail, tail, from_end)
    return jnp.where(upper, high - (high - low) * from_end, low + (high - low) * from_end)


def from_bounds(values: jax.Array, bounds: tuple[float, float] | None) -> jax.Array:
    """Inverts `to_bounds`, after moving values to at least 0.002 of the range from either bound."""
    if bounds is None:
        return values
    low, high = map(float, bounds)
    return from_unit(jnp.asarray((values - low) / (high - low)))


def from_unit(fractions: jax.Array) -> jax.Array:
    """Does what `from_bounds` does for fractions of the range: 0 at the lower bound, 1 at the upper one."""
    upper = fractions > 0.5
    from_end = jnp.where(upper, 1 - fractions, fractions)
    from_end = jnp.where(from_end < SQUEEZE, SQUEEZE, from_end)
    from_end = jnp.where(from_end < TAIL, 2 * TAIL - TAIL**2 / from_end, from_end)
    return jnp.where(upper, 1 - from_end, from_end)


def from_first_map(raw: np.ndarray) -> np.ndarray:
    r"""Converts raw values of the first map, $(1 + r / \sqrt{1 + r^2}) / 2$, to those of `to_bounds` for the same u."""
    from_end = 0.5 / (np.sqrt(1 + raw**2) * (np.sqrt(1 + raw**2) + np.abs(raw)))  # no cancellation in the tails
    from_end = np.where(from_end < TAIL, 2 * TAIL - TAIL**2 / from_end, from_end)
    return np.where(raw > 0, 1 - from_end, from_end)


def check_bounds(bounds: Any) -> tuple[float, float] | None:
    """Returns bounds as two floats, or None; raises ValueError unless they are finite, and the lower one is lower."""
    if bounds is None:
        return None
    try:
        low, high = map(float, bounds)
    except (TypeError, ValueError):
        raise ValueError(f"Expected `bounds` to be two numbers (low, high), or None; got {bounds!r}.") from None
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(
            f"Expected `bounds` (low, high) to be finite; got {bounds!r}. Pass the least and the largest value of the "
            "data, or None for data without bounds, and start from data (`init_from_data`)."
        )
    if not low < high:
        raise ValueError(f"Expected `bounds` (low, high) with low < high, or None; got {bounds!r}.")
    dtype = jax.dtypes.canonicalize_dtype(float)
    with np.errstate(over="ignore"):
        smallest = low + SQUEEZE * (high - low)
        if not np.isfinite(np.asarray(high - low, dtype)) or np.asarray(smallest, dtype) == np.asarray(low, dtype):
            raise ValueError(
                f"Expected `bounds` with a range that {np.dtype(dtype).name} resolves; got {bounds!r}. Shift and scale "
                "the data."
            )
    return low, high


def check_within(x: np.ndarray, bounds: tuple[float, float] | None) -> None:
    """Raises ValueError where examples lie outside the bounds by more than float32 rounds."""
    if bounds is None:
        return
    least, largest = float(x.min()), float(x.max())
    low, high = map(float, bounds)
    rounding = 1e-6 * max(high - low, abs(low), abs(high))
    if least < low - rounding or largest > high + rounding:
        raise ValueError(
            f"Expected `x` within the bounds ({low:g}, {high:g}) of the `vamp` prior; got values from {least:g} to "
            f"{largest:g}. Pass `bounds=` that hold the data, or `bounds=None` for data without bounds."
        )
