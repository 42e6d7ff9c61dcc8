"""Data as arrays, and as dicts of arrays: an example may have parts, such as {"age": ..., "sex": ...}."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax


def map_arrays(function: Callable[[Any], Any], value: Any) -> Any:
    """Applies a function to an array, or to each array of nested dicts. Unlike `jax.tree.map` it leaves lists whole."""
    if isinstance(value, Mapping):
        return {name: map_arrays(function, part) for name, part in value.items()}
    return function(value)


def named_arrays(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the arrays of a dict with their names; a part of the entry "x" is called "x['age']".

    Example:
        >>> from vaepriors_jax.trees import named_arrays
        >>> dict(named_arrays({"x": {"age": 1, "sex": 2}, "y": 3}))
        {"x['age']": 1, "x['sex']": 2, 'y': 3}
    """
    for name, value in data.items():
        yield from _named(str(name), value)


def _named(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        yield name, value
        return
    for part, inner in value.items():
        yield from _named(f"{name}[{part!r}]", inner)


def num_rows(tree: Any) -> int:
    """The size of the leading axis of arrays [N, ...]."""
    return jax.tree.leaves(tree)[0].shape[0]


def take_rows(tree: Any, rows: Any) -> Any:
    """Some rows of arrays [N, ...]."""
    return jax.tree.map(lambda array: array[rows], tree)
