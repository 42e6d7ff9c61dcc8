"""The prior of a saved model: its configuration, and the parameters that its `init` expects."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Config, Prior
from vaepriors_jax.configuration import plain_config
from vaepriors_jax.factories import shapes_of_init
from vaepriors_jax.networks.variables import split
from vaepriors_jax.vae import VAEParams


def saved_config(prior: Prior) -> Config | None:
    """The configuration of a prior, or None if JSON cannot hold it."""
    try:
        config = plain_config(prior)
        json.dumps(config, allow_nan=False)
    except ValueError:
        return None
    return config


def check_prior_params(prior: Prior, params: VAEParams) -> None:
    """Raises ValueError unless the prior's parameters have the names, shapes and kinds of number of its `init`.

    Any precision will do. With replicas, all arrays of `params` have a leading axis for them.
    """
    axes = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(params) if hasattr(leaf, "shape")}
    replicas = axes.pop() if len(axes) == 1 else ()
    expected, saved = _described(shapes_of_init(prior)), _described(split(params.prior)[0])
    stacked = {name: (replicas + shape, kind) for name, (shape, kind) in expected.items()}
    if saved in (expected, stacked):
        return
    name = next(name for name in {**expected, **saved} if expected.get(name) != saved.get(name))
    in_model, of_init = (_in_words(described.get(name)) for described in (saved, expected))
    raise ValueError(
        f"Expected a model with the parameters of {prior!r}; for '{name}' the model holds {in_model}, and `init` of "
        f"this prior makes {of_init}. Pass the prior that was trained as `prior=`."
    )


def _described(params: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """The shape and the kind of number of each leaf, by names that do not depend on the kind of container."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value") for path, _ in leaves]
    return {name: (np.shape(leaf), _kind(leaf)) for name, (_, leaf) in zip(names, leaves, strict=True)}


def _kind(leaf: Any) -> str:
    dtype = jnp.result_type(leaf)
    kinds = {"floating-point numbers": jnp.floating, "integers": jnp.integer, "booleans": jnp.bool_}
    return next((name for name, kind in kinds.items() if jnp.issubdtype(dtype, kind)), str(dtype))


def _in_words(described: tuple[tuple[int, ...], str] | None) -> str:
    return "nothing" if described is None else f"{described[1]} {list(described[0])}"
