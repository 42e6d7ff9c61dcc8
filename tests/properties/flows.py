"""Rows for both directions of every flow and for the spline, with values at knots and at the ends of intervals."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

from tests import cases
from tests.properties.priors import KNOTS, moved
from tests.properties.row import Row, arrays, numbers
from vaepriors_jax.flows.spline_coupling import make_knots, spline_forward, spline_inverse

BOUND, NUM_BINS = 5.0, 4
# Those of 5 bins; KNOTS has those of 4 and 8.
KNOTS_OF_FIVE = (-3.0, -1.0, 1.0, 3.0)
DIFFERENCE = 1e-5


def row_of(case: cases.FlowCase, direction: str) -> Row:
    """Sum of the outputs, each with a weight of its own, and the log-determinant."""
    flow, weights = case.make(), np.linspace(0.5, 1.5, case.dim)

    def both(params: Any, value: jax.Array) -> tuple[jax.Array, jax.Array]:
        return getattr(flow.apply(params, **case.context), f"{direction}_and_log_det")(value)

    def function(params: Any, value: jax.Array) -> jax.Array:
        outputs, log_det = both(params, value)
        return jnp.dot(outputs, jnp.asarray(weights, outputs.dtype)) + log_det

    batch = jax.jit(jax.vmap(both, (None, 0)))

    def reference(params: Any, value: np.ndarray) -> float:
        """The log-determinant from differences of the outputs."""
        steps = DIFFERENCE * np.eye(case.dim)
        with jax.enable_x64(True):
            outputs = np.asarray(batch(params, np.concatenate([value[None], value + steps, value - steps]))[0])
        _, ahead, behind = np.split(outputs, [1, 1 + case.dim])
        _, log_det = np.linalg.slogdet((ahead - behind) / (2 * DIFFERENCE))
        return float(outputs[0] @ weights + log_det)

    start = jax.jit(flow.init)(jax.random.key(1))
    starts = [moved(start, scale) for scale in (0.0, 0.1)]
    value = arrays((case.dim,), 8.0, *KNOTS, *KNOTS_OF_FIVE)
    return Row(
        f"{case.name}_{direction}",
        function,
        st.tuples(st.sampled_from(starts), value),
        reference,
        tolerance=2e-3 if "spline" in case.name or case.name == "chain" else 2e-5,
        reference_tolerance=1e-4,
    )


def spline(direction: str) -> Row:
    """One spline, at its own knots: of raw parameters that are equal, ordinary or large."""
    call, name = (spline_forward, "x") if direction == "forward" else (spline_inverse, "y")

    @st.composite
    def arguments(draw: Any) -> tuple[np.ndarray, np.ndarray]:
        # At the start, zeros, the knots are exact in any precision.
        start = np.zeros((1, 3 * NUM_BINS - 1), np.float32)
        raw = draw(st.one_of(st.just(start), arrays(start.shape, 2.0, 0.0, 1.0)))
        knots = np.asarray(getattr(make_knots(jnp.asarray(raw), BOUND), name), np.float32)[0]
        return raw, np.array([draw(st.one_of(st.sampled_from(knots), numbers(8.0, *KNOTS)))], np.float32)

    def function(raw: jax.Array, value: jax.Array) -> jax.Array:
        output, log_slope = call(raw, value, BOUND)
        return output[0] + log_slope[0]

    def reference(raw: np.ndarray, value: np.ndarray) -> float:
        with jax.enable_x64(True):
            ends = [np.asarray(call(raw, value + step, BOUND)[0])[0] for step in (0, DIFFERENCE, -DIFFERENCE)]
        return float(ends[0] + np.log((ends[1] - ends[2]) / (2 * DIFFERENCE)))

    return Row(f"spline_{direction}", function, arguments(), reference, tolerance=5e-3, reference_tolerance=1e-3)


DIRECTIONS = ("forward", "inverse")
ROWS = {
    **{
        f"{case.name}_{direction}": partial(row_of, case, direction) for case in cases.FLOWS for direction in DIRECTIONS
    },
    **{f"spline_{direction}": partial(spline, direction) for direction in DIRECTIONS},
}
