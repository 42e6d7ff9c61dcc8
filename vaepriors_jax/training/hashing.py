"""Hashes of arrays, of data sets and of programs, as text that starts with #."""

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vaepriors_jax.parallel.distributed import gather
from vaepriors_jax.parallel.sharding import on_host


def hash_arrays(*arrays: np.ndarray) -> str:
    """The hash of arrays: their values, dtypes and shapes."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return f"#{digest.hexdigest()[:16]}"


def hash_examples(value: Any, several: bool = False) -> str:
    """The hash of an array [N, ...], the same however several processes share it: a sum over examples and places."""
    array = on_host(value)
    sizes = gather(len(array)) if several else np.array([len(array)])
    first = int(sizes[: jax.process_index()].sum()) if several else 0
    rows = (hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in array)
    places = np.arange(first, first + len(array), dtype=np.uint64)
    mixed = _mix(np.frombuffer(b"".join(rows), "<u8").astype(np.uint64) ^ _mix(places))
    total = int(mixed.sum(dtype=np.uint64))
    if several:  # 16 bits at a time, since processes exchange integers of 32 bits
        parts = [gather(total >> shift & 0xFFFF).astype(object).sum() << shift for shift in (0, 16, 32, 48)]
        total = sum(parts) % 2**64
    return f"#{total:016x} ({array.dtype}{[int(sizes.sum()), *array.shape[1:]]})"


def _mix(values: np.ndarray) -> np.ndarray:
    """A permutation of 64 bits (the finaliser of splitmix64) that makes neighbours unlike."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def hash_program(function: Callable[..., Any], *arguments: Any) -> str:
    """The hash of the program of a function; its constants are in the text."""
    text = jax.jit(lambda *given: function(*given)).lower(*arguments).as_text()
    return f"#{hashlib.sha256(text.encode()).hexdigest()[:16]}"
