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
    """Maps a function over the leading axis, in equal chunks of at most `chunk_size` slices.

    Unlike `jax.lax.map` with a `batch_size` it compiles the function once, not a second time for the remainder: where
    the slices do not fill the last chunk, that repeats some of them.
    """
    size = jax.tree.leaves(arrays)[0].shape[0]
    num_chunks = -(-size // chunk_size)
    if num_chunks <= 1:
        return jax.vmap(function)(arrays)
    rows = -(-size // num_chunks)
    if repeated := num_chunks * rows - size:
        arrays = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[-repeated:]]), arrays)
    if is_compiling():
        chunks = jax.tree.map(lambda leaf: leaf.reshape(num_chunks, rows, *leaf.shape[1:]), arrays)
        outputs = jax.lax.map(jax.vmap(function), chunks)
        return jax.tree.map(lambda leaf: leaf.reshape(num_chunks * rows, *leaf.shape[2:])[:size], outputs)
    parts = [jax.vmap(function)(_slices(arrays, start, rows)) for start in range(0, num_chunks * rows, rows)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[:size], *parts)


def _slices(arrays: Any, start: int, size: int | None = None) -> Any:
    """Slice `start`, or `size` slices from there on; compiled once for all values of `start`."""
    if size is None:
        return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, np.int32(start), keepdims=False), arrays)
    return jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, np.int32(start), size), arrays)
