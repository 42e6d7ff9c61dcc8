"""Models of the first format: a file `prior.json`, and a folder `params` that orbax wrote."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

DESCRIPTION = "prior.json"


def read_earlier(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the description and the arrays of a model.

    The oldest models have no entry "params" in the description, and their arrays are the parameters in dicts.

    Raises:
        Exception: of many kinds, for files that are damaged.
    """
    import orbax.checkpoint as ocp

    description = json.loads((folder / DESCRIPTION).read_text())
    params = description.get("params")
    leaves = {} if params is None else {str(i): leaf for i, leaf in enumerate(params["leaves"]) if "array" in leaf}
    # Arrays without elements were not written.
    empty = {name: _empty(leaf) for name, leaf in leaves.items() if 0 in leaf["shape"]}
    arrays = {}
    if params is None or len(leaves) > len(empty):
        with ocp.StandardCheckpointer() as checkpointer:
            arrays = checkpointer.restore(folder / "params")
    return description, arrays | empty


def _empty(leaf: dict[str, Any]) -> jax.Array:
    return jnp.zeros(leaf["shape"], jax.dtypes.canonicalize_dtype(leaf["array"]))
