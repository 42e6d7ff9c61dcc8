"""One epoch as a compiled program: shuffle, train, validate, keep the best; for several replicas at once."""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh

from vaepriors_jax.parallel.sharding import REPLICAS, Data, num_examples, over_replicas, take
from vaepriors_jax.training.state import TrainState, init_train_state
from vaepriors_jax.training.step import update
from vaepriors_jax.training.transforms import Transform
from vaepriors_jax.training.validation import map_elbo
from vaepriors_jax.vae import VAE, VAEParams

# An optax transformation, or what makes one from hyperparameters.
Optimizer = optax.GradientTransformation | Callable[..., optax.GradientTransformation]


class Progress(NamedTuple):
    """What an epoch changes, for one replica."""

    train: TrainState
    best_params: VAEParams
    best_elbo: jax.Array
    best_epoch: jax.Array
    stopped: jax.Array


class Options(NamedTuple):
    """What stays the same for the whole run, and is compiled into its program."""

    vae: VAE
    optimizer: Optimizer
    num_replicas: int
    num_steps: int
    batch_size: int
    warmup_epochs: int
    patience: int | None
    free_bits: float
    num_samples: int
    kl_method: str
    transform: Transform | None
    mesh: Mesh | None
    beta: Callable[[jax.Array], Any] | None = None  # a schedule of the step


def optimizer_of(optimizer: Any, hyperparameters: Mapping[str, jax.Array]) -> optax.GradientTransformation:
    """The optimiser of one replica."""
    return optimizer(**hyperparameters) if hyperparameters else optimizer


def one_epoch(
    options: Options,
    progress: Progress,
    key: jax.Array,
    beta: jax.Array,
    hyperparameters: Mapping[str, jax.Array],
    epoch: jax.Array,
    data: Data,
    validation: Data | None,
) -> tuple[Progress, dict[str, jax.Array]]:
    """One epoch of one replica: shuffle, train, validate, keep the best. `epoch` counts from 1."""
    key_epoch, key_validation = jax.random.split(key)
    key_shuffle, key_steps = jax.random.split(jax.random.fold_in(key_epoch, epoch))
    order = jax.random.permutation(key_shuffle, num_examples(data))
    order = order[: options.num_steps * options.batch_size].reshape(options.num_steps, options.batch_size)
    warmup_steps = options.warmup_epochs * options.num_steps

    def schedule(step: jax.Array) -> jax.Array:
        weight = beta if options.beta is None else beta * options.beta(step)
        return weight * jnp.minimum(1.0, step / warmup_steps) if warmup_steps else weight

    def step(state: TrainState, rows: jax.Array) -> tuple[TrainState, Any]:
        return update(
            options.vae,
            optimizer_of(options.optimizer, hyperparameters),
            state,
            key_steps,
            take(options.mesh, data, rows),
            beta=schedule,
            transform=options.transform,
            mesh=options.mesh,
            free_bits=options.free_bits,
            num_samples=options.num_samples,
            kl_method=options.kl_method,
        )

    state, terms = jax.lax.scan(step, progress.train, order)
    metrics = {name: jnp.mean(getattr(terms, name)) for name in ("elbo", "reconstruction", "kl")}
    alive = (state.failed_step < 0) & ~progress.stopped
    if validation is None:
        score, improved = progress.best_elbo, alive
    else:
        per_example = map_elbo(options.vae, state.params, key_validation, validation, options.batch_size, options.mesh)
        score = metrics["validation_elbo"] = jnp.mean(per_example.elbo)
        improved = alive & (score > progress.best_elbo)
    best_params = jax.tree.map(lambda new, old: jnp.where(improved, new, old), state.params, progress.best_params)
    best_epoch = jnp.where(improved, epoch, progress.best_epoch)
    stopped = progress.stopped
    if options.patience is not None:
        stopped |= epoch - jnp.maximum(best_epoch, options.warmup_epochs) >= options.patience
    best_elbo = jnp.where(improved, score, progress.best_elbo)
    return Progress(state, best_params, best_elbo, best_epoch, stopped), metrics


@lru_cache(maxsize=32)
def start_program(optimizer: Optimizer, mesh: Mesh | None) -> Callable[..., Progress]:
    """The program that makes what the first epoch starts from, out of stacked parameters and hyperparameters."""

    def start(params: VAEParams, hyperparameters: Mapping[str, jax.Array]) -> Progress:
        state = init_train_state(params, optimizer_of(optimizer, hyperparameters))
        best_elbo, best_epoch = jnp.full((), -jnp.inf), jnp.zeros((), jnp.int32)
        return Progress(state, state.params, best_elbo, best_epoch, jnp.zeros((), bool))

    return jax.jit(jax.vmap(start), out_shardings=None if mesh is None else over_replicas(mesh))


def epoch_program(options: Options, arguments: tuple[Any, ...]) -> Callable[..., Any]:
    """The compiled epoch for arguments like these; a second run with the same options and shapes gets the same one."""

    def described(leaf: Any) -> jax.ShapeDtypeStruct:
        sharding = leaf.sharding if isinstance(leaf, jax.Array) and leaf.committed else None
        return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=sharding)

    leaves, structure = jax.tree.flatten(jax.tree.map(described, arguments))
    return _compile(options, structure, tuple(leaves))


@lru_cache(maxsize=32)
def _compile(options: Options, structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...]) -> Callable[..., Any]:
    run = _over_replicas(partial(one_epoch, options), options.num_replicas, options.mesh)
    where = None if options.mesh is None else over_replicas(options.mesh)
    compiled = jax.jit(run, donate_argnums=0, out_shardings=where)
    return compiled.lower(*jax.tree.unflatten(structure, leaves)).compile()


def _over_replicas(epoch: Callable[..., Any], num_replicas: int, mesh: Mesh | None) -> Callable[..., Any]:
    """Maps an epoch over the leading axis of its first four arguments.

    On a CPU one after another, for batched products are slower there than single ones: by a fifth to a third at the
    size of a paper. A replica's numbers are then to the bit those of a run of its own.
    """
    if num_replicas == 1 or (mesh is None and jax.default_backend() == "cpu"):
        one = epoch if num_replicas == 1 else partial(_unless_done, epoch)
        return lambda *arguments: jax.lax.map(lambda mapped: one(*mapped, *arguments[4:]), arguments[:4])
    axis = REPLICAS if mesh is not None and REPLICAS in mesh.axis_names else None
    in_axes = (0, 0, 0, 0, None, None, None)
    return jax.vmap(partial(_unless_done, epoch), in_axes=in_axes, spmd_axis_name=axis)


def _unless_done(epoch: Callable[..., Any], progress: Progress, *arguments: Any) -> tuple[Progress, Any]:
    """The epoch of a replica, unless it has stopped or was frozen: it then stays as it is, with NaN for metrics."""
    metrics = jax.eval_shape(epoch, progress, *arguments)[1]
    nothing = jax.tree.map(lambda metric: jnp.full(metric.shape, jnp.nan, metric.dtype), metrics)
    done = progress.stopped | (progress.train.failed_step >= 0)
    return jax.lax.cond(done, lambda *_: (progress, nothing), epoch, progress, *arguments)
