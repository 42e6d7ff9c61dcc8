"""One epoch of one replica, as a function to be compiled: shuffle, train, validate, keep the best, stop early.

It also warms up the KL.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vaepriors_jax.objective_options import Objective
from vaepriors_jax.objectives import ELBO, weighted_mean
from vaepriors_jax.parallel.sharding import Data, Sharded, num_examples, take
from vaepriors_jax.training.averaging import evaluated_params
from vaepriors_jax.training.state import TrainState
from vaepriors_jax.training.step import update
from vaepriors_jax.training.transforms import Batch, Transform
from vaepriors_jax.training.validation import map_elbo
from vaepriors_jax.vae import VAE, VAEParams

METRICS = ("elbo", "reconstruction", "kl")

# An optax transformation, or what makes one from hyperparameters.
Optimizer = optax.GradientTransformation | Callable[..., optax.GradientTransformation]


class FitState(NamedTuple):
    """What an epoch changes, for one replica."""

    train: TrainState
    best_params: VAEParams
    best_elbo: jax.Array
    best_epoch: jax.Array
    stopped: jax.Array


class Options(NamedTuple):
    """What stays the same for the whole run and is compiled into its program.

    Attributes:
        vae: the VAE.
        optimizer: an optax transformation, or a function that makes one from hyperparameters.
        objective: the objective. Its `beta` is a schedule of the step or 1; each replica's own weight multiplies it.
        num_replicas: R.
        batch_size: examples in a step, over all devices.
        patience: see `fit`.
        transform: see `fit`.
        mesh: the devices, or None for one device.
    """

    vae: VAE
    optimizer: Optimizer
    objective: Objective
    num_replicas: int
    batch_size: int
    patience: int | None
    transform: Transform | None
    mesh: Mesh | None


def optimizer_of(optimizer: Any, hyperparameters: Mapping[str, jax.Array]) -> optax.GradientTransformation:
    """The optimiser of one replica."""
    return optimizer(**hyperparameters) if hyperparameters else optimizer


class EpochKeys(NamedTuple):
    """The keys of a replica in an epoch; that of validation is the same in all epochs."""

    shuffle: jax.Array
    steps: jax.Array
    validation: jax.Array


def epoch_keys(key: jax.Array, epoch: jax.Array) -> EpochKeys:
    """Splits the key of a replica for an epoch."""
    key_epoch, key_validation = jax.random.split(key)
    key_shuffle, key_steps = jax.random.split(jax.random.fold_in(key_epoch, epoch))
    return EpochKeys(key_shuffle, key_steps, key_validation)


def one_epoch(
    options: Options,
    state: FitState,
    keys: EpochKeys,
    beta: jax.Array,
    hyperparameters: Mapping[str, jax.Array],
    epoch: jax.Array,
    data: Data,
    validation: Data | None,
) -> tuple[FitState, dict[str, jax.Array]]:
    """One epoch of one replica: shuffle, train, validate, keep the best. `epoch` counts from 1."""
    train, metrics = train_on_arrays(options, state.train, keys, beta, hyperparameters, data)
    if validation is not None:
        values = validation_elbo(options, train, keys.validation, validation)
        metrics["validation_elbo"] = weighted_mean(values, weights_of(validation))
    return keep_best(options, state, train, epoch, metrics.get("validation_elbo")), metrics


def train_on_arrays(
    options: Options,
    train: TrainState,
    keys: EpochKeys,
    beta: jax.Array,
    hyperparameters: Mapping[str, jax.Array],
    data: Data,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """The training of an epoch: the steps on all batches in a random order, and the means of their metrics."""
    num_steps = num_examples(data) // options.batch_size
    order = jax.random.permutation(keys.shuffle, num_examples(data))
    order = order[: num_steps * options.batch_size].reshape(num_steps, options.batch_size)

    def step(train: TrainState, rows: jax.Array) -> tuple[TrainState, tuple[ELBO, jax.Array | None]]:
        batch = take(options.mesh, data, rows)
        train, terms = train_step(options, train, keys.steps, beta, hyperparameters, num_steps, batch)
        return train, (terms, jnp.sum(batch["weight"]) if "weight" in batch else None)

    train, (terms, weights) = jax.lax.scan(step, train, order)
    return train, {name: weighted_mean(getattr(terms, name), weights) for name in METRICS}


def weights_of(data: Data) -> jax.Array | None:
    """The weights of all examples [N], if they have any."""
    if isinstance(data, Sharded):
        return data.arrays["weight"][data.positions] if "weight" in data.arrays else None
    return data.get("weight")


def train_step(
    options: Options,
    train: TrainState,
    key: jax.Array,
    beta: jax.Array,
    hyperparameters: Mapping[str, jax.Array],
    num_steps: int | jax.Array,
    batch: Batch,
) -> tuple[TrainState, ELBO]:
    """A step of a replica on a batch, in an epoch of `num_steps`."""
    objective = options.objective
    if objective.constraint is None:  # which has a multiplier in place of weights
        objective = replace(objective, beta=_weight(objective, beta, num_steps))
    return update(
        options.vae,
        optimizer_of(options.optimizer, hyperparameters),
        train,
        key,
        batch,
        objective=objective,
        transform=options.transform,
        mesh=options.mesh,
    )


def validation_elbo(
    options: Options, train: TrainState, key: jax.Array, data: Data, places: jax.Array | None = None
) -> jax.Array:
    """The ELBO of each validation example [N], or of those of a batch, at `places` among all."""
    return map_elbo(options.vae, evaluated_params(train), key, data, options.batch_size, options.mesh, places).elbo


def _weight(objective: Objective, beta: jax.Array, num_steps: int | jax.Array) -> Callable[[jax.Array], jax.Array]:
    """The weight of a replica's KL by step: its own beta, times the schedule, times the warm-up."""

    def weight(step: jax.Array) -> jax.Array:
        weight = beta * objective.beta(step) if callable(objective.beta) else beta
        if not objective.warmup_epochs:
            return weight
        warmup_steps = objective.warmup_epochs * num_steps
        return weight * jnp.minimum(1.0, step / warmup_steps)

    return weight


def keep_best(
    options: Options, before: FitState, train: TrainState, epoch: jax.Array, score: jax.Array | None
) -> FitState:
    """The state after an epoch: the best parameters so far, and early stopping by `patience`.

    Without validation the last parameters are the best.
    """
    improved = (train.failed_step < 0) & ~before.stopped
    if score is None:
        score = before.best_elbo
    else:
        improved = improved & (score > before.best_elbo)
    params = evaluated_params(train)
    best_params = jax.tree.map(lambda new, old: jnp.where(improved, new, old), params, before.best_params)
    best_epoch = jnp.where(improved, epoch, before.best_epoch)
    stopped = before.stopped
    if options.patience is not None:
        stopped |= epoch - jnp.maximum(best_epoch, options.objective.warmup_epochs) >= options.patience
    return FitState(train, best_params, jnp.where(improved, score, before.best_elbo), best_epoch, stopped)
