"""Checks of the arguments of training, before anything is compiled."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_precision
from vaepriors_jax.vae import VAEParams


def check_trainable(params: VAEParams) -> None:
    """Raises TypeError unless all parameters are floats, and none is the state of a network."""
    _check_no_state(params)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        kind = jnp.result_type(leaf) if hasattr(leaf, "dtype") or isinstance(leaf, (int, float)) else type(leaf)
        if not jnp.issubdtype(kind, jnp.floating):
            name = getattr(kind, "__name__", kind)
            raise TypeError(
                f"Expected parameters of floats; params{jax.tree_util.keystr(path)} is of {name}. "
                "For modules with state or noise see `vaepriors_jax.networks`."
            )


def check_optimizer(optimizer: Any, hyperparameters: Mapping[str, Any] | None = None) -> None:
    """Raises TypeError unless it is an optax transformation, or with hyperparameters a function that makes one."""
    is_transformation = hasattr(optimizer, "init") and hasattr(optimizer, "update")
    if hyperparameters and (is_transformation or not callable(optimizer)):
        raise TypeError(
            f"Expected with `hyperparameters` a function that makes the optimizer from {', '.join(hyperparameters)}, "
            f"such as `optax.adam`; got {type(optimizer).__name__}."
        )
    if not hyperparameters and not is_transformation:
        raise TypeError(f"Expected an optax transformation, such as `optax.adam(1e-3)`; got {optimizer!r}.")


def check_schedule(beta: Callable[[jax.Array], Any]) -> None:
    """Raises TypeError or ValueError unless a schedule of beta gives one finite number >= 0 for the first step."""
    first = jnp.asarray(beta(jnp.zeros((), jnp.int32)))
    if first.shape or not jnp.issubdtype(first.dtype, jnp.number):
        raise TypeError(
            f"Expected `beta` as a schedule to give one number for a step; got an array of {first.dtype}, of shape "
            f"{list(first.shape)}."
        )
    if not 0 <= float(first) < float("inf"):
        raise ValueError(f"Expected `beta` as a schedule to be finite and >= 0; got {first} at step 0.")


def check_hyperparameters(values: Any) -> dict[str, Any]:
    """Returns hyperparameters by name; raises unless they are finite numbers, and learning rates not negative."""
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise TypeError(
            f'Expected `hyperparameters` by name, such as {{"learning_rate": rates}}; got {type(values).__name__}.'
        )
    for name, value in values.items():
        array = np.asarray(value)
        if not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
            raise ValueError(f"Expected finite numbers in the hyperparameter `{name}`; got {value!r}.")
        if "learning_rate" in name and (array < 0).any():
            raise ValueError(
                f"Expected the hyperparameter `{name}` to be >= 0; got {value!r}: it would raise the loss."
            )
        check_precision(f"hyperparameter `{name}`", value)
    return dict(values)


def check_per_replica(name: str, value: Any, num_replicas: int, dtype: Any = None) -> jax.Array:
    """Returns one value for each replica [R], given one for all or [R]; otherwise raises ValueError."""
    array = jnp.asarray(value, dtype)
    if array.shape not in ((), (num_replicas,)):
        raise ValueError(
            f"Expected `{name}` to be one value, or one for each of {num_replicas} replicas (keys); got the shape "
            f"{list(array.shape)}."
        )
    return jnp.broadcast_to(array, (num_replicas,))


def check_replicas(params: VAEParams, num_replicas: int) -> None:
    """Raises ValueError unless all parameters have a leading axis of replicas."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if np.shape(leaf)[:1] != (num_replicas,):
            raise ValueError(
                f"Expected parameters with a leading axis of {num_replicas}, one for each key of `key`; "
                f"params{jax.tree_util.keystr(path)} is {list(np.shape(leaf))}."
            )


def _check_no_state(params: VAEParams) -> None:
    """Raises TypeError for running statistics or random keys of Flax among the parameters."""
    nnx: Any = sys.modules.get("flax.nnx")  # slow to import

    def is_state(node: Any) -> bool:
        return nnx is not None and isinstance(node, (nnx.BatchStat, nnx.RngState))

    for path, node in jax.tree_util.tree_leaves_with_path(params, is_leaf=is_state):
        of_linen = any(getattr(entry, "key", None) == "batch_stats" for entry in path)
        if of_linen or is_state(node):
            network: Any = path[0]
            make = "linen" if of_linen else "nnx"
            raise TypeError(
                f"Expected parameters that an optimizer may change; params{jax.tree_util.keystr(path)} is state. Make "
                f"the {network.name} by `vp.{make}_network(module)`, and pass its `vp.Variables`."
            )
