"""Loops that compile nothing outside `jit`.

Outside `jit`, `jax.lax.scan` and `jax.lax.map` compile their body anew for each new function object, such as a closure
over parameters, and keep every compiled program. The loops here call them only inside `jit`, and else run in Python.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def is_compiling() -> bool:
    """Returns whether JAX is tracing a program (`jit`, `scan`). Under `grad` and `vmap` alone it computes at once."""
    # A constant that is created while a program is traced is a tracer.
    return isinstance(jnp.zeros(()), Tracer)


def scan(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, inputs: Any, length: int, *, reverse: bool = False
) -> tuple[Any, Any]:
    """`jax.lax.scan` over `length` slices of `inputs`; outputs are stacked in the order of the inputs."""
    if is_compiling():
        return jax.lax.scan(step, carry, inputs, length=length, reverse=reverse)
    outputs = []
    for i in reversed(range(length)) if reverse else range(length):
        carry, output = step(carry, _slices(inputs, i))
        outputs.append(output)
    if not outputs:
        one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), inputs)
        shapes = jax.eval_shape(step, carry, one)[1]
        return carry, jax.tree.map(lambda shape: jnp.zeros((0, *shape.shape), shape.dtype), shapes)
    if reverse:
        outputs.reverse()
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)


def map_chunks(function: Callable[[Any], Any], arrays: Any, chunk_size: int) -> Any:
    """Maps a function over the leading axis, `chunk_size` slices at a time: `jax.lax.map` with a `batch_size`."""
    size = jax.tree.leaves(arrays)[0].shape[0]
    if size <= chunk_size:
        return jax.vmap(function)(arrays)
    if is_compiling():
        return jax.lax.map(function, arrays, batch_size=chunk_size)
    starts = range(0, size, chunk_size)
    chunks = [jax.vmap(function)(_slices(arrays, i, min(chunk_size, size - i))) for i in starts]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *chunks)


def _slices(arrays: Any, start: int, size: int | None = None) -> Any:
    """Slice `start`, or `size` slices from there on; compiled once for all values of `start`."""
    if size is None:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, np.int32(start), keepdims=False), arrays)
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, np.int32(start), size), arrays)
