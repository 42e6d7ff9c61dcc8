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


def entries_read(function: Callable[[dict[str, Any]], Any], data: Mapping[str, Any]) -> set[str]:
    """Names of the entries of a dict that a function computes with, or returns. The function is traced, not run.

    Args:
        function: a function of a dict of arrays, or of nested dicts of them.
        data: such a dict; shapes will do, as `jax.ShapeDtypeStruct`.

    Example:
        >>> import jax.numpy as jnp
        >>> from vaepriors_jax.trees import entries_read
        >>> entries_read(lambda data: data["x"] + 1, {"x": jnp.ones(3), "y": jnp.ones(3)})
        {'x'}
    """
    jaxpr = jax.make_jaxpr(function)(dict(data)).jaxpr
    used = {id(variable) for equation in jaxpr.eqns for variable in equation.invars} | set(map(id, jaxpr.outvars))
    names = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(dict(data))]
    return {name for name, variable in zip(names, jaxpr.invars, strict=True) if id(variable) in used}
