"""The compiled programs of a run: what the first epoch starts from, and an epoch of all replicas."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaepriors_jax.objective_options import Objective
from vaepriors_jax.parallel.sharding import REPLICAS, over_replicas
from vaepriors_jax.training.epoch import EpochKeys, FitState, Optimizer, Options, epoch_keys, one_epoch, optimizer_of
from vaepriors_jax.training.state import init_train_state
from vaepriors_jax.vae import VAEParams


@lru_cache(maxsize=32)
def start_program(optimizer: Optimizer, objective: Objective, mesh: Mesh | None) -> Callable[..., FitState]:
    """The program that makes what the first epoch starts from, out of stacked parameters and hyperparameters."""

    def start(params: VAEParams, hyperparameters: Mapping[str, jax.Array]) -> FitState:
        state = init_train_state(params, optimizer_of(optimizer, hyperparameters), objective=objective)
        best_elbo, best_epoch = jnp.full((), -jnp.inf), jnp.zeros((), jnp.int32)
        return FitState(state, state.params, best_elbo, best_epoch, jnp.zeros((), bool))

    return jax.jit(jax.vmap(start), out_shardings=None if mesh is None else over_replicas(mesh))


@lru_cache(maxsize=32)
def keys_program(mesh: Mesh | None) -> Callable[[jax.Array, np.int32], EpochKeys]:
    """The program that splits the keys of all replicas for an epoch.

    It is apart from the epoch, since random numbers take long to compile, and all models share it.
    """
    return jax.jit(jax.vmap(epoch_keys, (0, None)), out_shardings=None if mesh is None else over_replicas(mesh))


def epoch_program(options: Options, arguments: tuple[Any, ...]) -> Callable[..., Any]:
    """The compiled epoch for arguments like these."""
    return compiled(one_epoch if options.num_replicas == 1 else _epoch_unless_done, options, arguments)


def compiled(function: Callable[..., Any], options: Options, arguments: tuple[Any, ...]) -> Callable[..., Any]:
    """Compiles `function(options, *arguments)` of one replica for all replicas and for arguments like these.

    The first four arguments have a leading axis of replicas. The first is donated. Runs with the same options and
    shapes share one program.
    """

    def described(leaf: Any) -> jax.ShapeDtypeStruct:
        sharding = leaf.sharding if isinstance(leaf, jax.Array) and leaf.committed else None
        return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding)

    leaves, structure = jax.tree.flatten(jax.tree.map(described, arguments))
    return _compile(function, options, structure, tuple(leaves))


@lru_cache(maxsize=32)
def _compile(
    function: Callable[..., Any], options: Options, structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...]
) -> Callable[..., Any]:
    run = _over_replicas(partial(function, options), options.num_replicas, options.mesh)
    where = None if options.mesh is None else over_replicas(options.mesh)
    program = jax.jit(run, donate_argnums=0, out_shardings=where)
    return program.lower(*jax.tree.unflatten(structure, leaves)).compile()


def _over_replicas(function: Callable[..., Any], num_replicas: int, mesh: Mesh | None) -> Callable[..., Any]:
    """Maps a function over the leading axis of its first four arguments.

    On a CPU the replicas run one after another, since batched products are slower there than single ones: by a fifth to
    a third at the sizes of published models. Each replica then gives exactly the numbers of a run of its own.
    """
    if num_replicas == 1 or (mesh is None and jax.default_backend() == "cpu"):
        return lambda *arguments: jax.lax.map(lambda mapped: function(*mapped, *arguments[4:]), arguments[:4])
    axis = REPLICAS if mesh is not None and REPLICAS in mesh.axis_names else None

    def mapped(*arguments: Any) -> Any:
        in_axes = (0, 0, 0, 0, *(None for _ in arguments[4:]))
        return jax.vmap(function, in_axes=in_axes, spmd_axis_name=axis)(*arguments)

    return mapped


def _epoch_unless_done(options: Options, state: FitState, *arguments: Any) -> tuple[FitState, Any]:
    """The epoch of a replica. One that has stopped or was frozen stays as it is, with NaN for its metrics."""
    epoch = partial(one_epoch, options)
    metrics = jax.eval_shape(epoch, state, *arguments)[1]
    nothing = jax.tree.map(lambda metric: jnp.full(metric.shape, jnp.nan, metric.dtype), metrics)
    done = state.stopped | (state.train.failed_step >= 0)
    return jax.lax.cond(done, lambda *_: (state, nothing), epoch, state, *arguments)
