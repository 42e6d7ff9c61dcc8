"""Trees of parameters in a file: numbered arrays, and a description in JSON of where each belongs."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.networks.variables import Variables

KINDS = {"list": list, "tuple": tuple}
VARIABLES = "variables"


def take_apart(tree: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits parameters into numbered arrays, and a description that JSON can hold.

    Raises:
        ValueError: a leaf that is neither an array of numbers nor a number.
    """
    leaves, structure = jax.tree.flatten(tree)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    described = [_describe_leaf(path, leaf) for path, leaf in zip(paths, leaves, strict=True)]
    arrays = {str(i): leaf for i, leaf in enumerate(leaves) if "array" in described[i]}
    numbered = jax.tree.unflatten(structure, [_Place(i) for i in range(len(leaves))])
    return arrays, {"leaves": described, "paths": paths, "tree": _describe(numbered)}


def put_together(arrays: dict[str, Any], description: dict[str, Any], like: Any = None) -> Any:
    """Rebuilds parameters, in the structure that was saved or in that of `like`.

    Raises:
        ValueError: containers that need `like`, or a `like` of another structure.
    """
    leaves = [_leaf(arrays.get(str(i)), leaf) for i, leaf in enumerate(description["leaves"])]
    if like is not None:
        return _as_like(leaves, description, like)
    if other := _others(description["tree"]):
        raise ValueError(
            f"The parameters of this model are in containers that are not saved, {', '.join(sorted(other))}. Pass "
            "`like=`, parameters of the same structure, such as those that the networks start from."
        )
    return _build(leaves, description["tree"])


def is_number(dtype: Any) -> bool:
    """Tells whether JAX has arrays of this dtype, and they hold numbers or booleans."""
    if not (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)):
        return False
    return np.dtype(dtype).itemsize <= (16 if jnp.issubdtype(dtype, jnp.complexfloating) else 8)  # no long doubles


class _Place:
    """Stands for a leaf, by its number."""

    def __init__(self, index: int):
        self.index = index


def _describe_leaf(path: str, leaf: Any) -> dict[str, Any]:
    if isinstance(leaf, (bool, int, float)) and not isinstance(leaf, np.generic):
        return {"number": str(leaf) if leaf in (math.inf, -math.inf) or leaf != leaf else leaf}
    dtype = getattr(leaf, "dtype", None)
    if dtype is None or not is_number(dtype):
        kind = type(leaf).__name__ if dtype is None else dtype
        raise ValueError(
            f"Expected parameters of arrays of numbers; params{path} is {kind}. Leave it out of the parameters, or "
            "make numbers of it."
        )
    return {"array": np.dtype(dtype).name, "shape": list(np.shape(leaf))}


def _describe(node: Any) -> Any:
    """Describes containers as [kind, content], and leaves as their numbers."""
    if isinstance(node, _Place):
        return node.index
    if node is None:
        return ["none", None]
    if type(node) is dict and all(type(key) in (str, int) for key in node):
        return ["dict", [[key, _describe(value)] for key, value in node.items()]]
    if type(node) is Variables:
        return [VARIABLES, [_describe(value) for value in node]]
    for kind, container in KINDS.items():
        if type(node) is container:
            return [kind, [_describe(value) for value in node]]
    return ["other", f"{type(node).__module__}.{type(node).__qualname__}"]


def _others(tree: Any) -> set[str]:
    """The containers that the description names but cannot rebuild."""
    if isinstance(tree, int) or tree[0] == "none":
        return set()
    if len(tree) != 2:
        raise TypeError(f"a container is described by {len(tree)} entries")
    kind, content = tree
    if kind == "other":
        return {content}
    return set().union(*(_others(item[1] if kind == "dict" else item) for item in content))


def _build(leaves: list[Any], tree: Any) -> Any:
    if isinstance(tree, int):
        return leaves[tree]
    kind, content = tree
    if kind == "none":
        return None
    if kind == "dict":
        return {key: _build(leaves, value) for key, value in content}
    values = [_build(leaves, value) for value in content]
    return Variables(*values) if kind == VARIABLES else KINDS[kind](values)


def _leaf(array: Any, described: dict[str, Any]) -> Any:
    if "number" in described:
        number = described["number"]
        return number if isinstance(number, (bool, int, float)) else float(number)
    return array


def _as_like(leaves: list[Any], description: dict[str, Any], like: Any) -> Any:
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(like)]
    there = {path: list(np.shape(leaf)) for path, leaf in zip(description["paths"], leaves, strict=True)}
    here = {path: list(np.shape(leaf)) for path, leaf in zip(paths, jax.tree.leaves(like), strict=True)}
    if list(there.items()) != list(here.items()):
        other = [path for path in {**there, **here} if there.get(path) != here.get(path)]
        first = other[0] if other else "the order of leaves"
        raise ValueError(
            f"Expected `like` to have the structure and shapes of the saved parameters; {first} differs: "
            f"{there.get(first, 'nothing')} saved, {here.get(first, 'nothing')} in `like`."
        )
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
