"""An epoch of `fit` where training or validation data stream: a compiled program for each batch."""

from collections import deque
from collections.abc import Generator, Mapping
from contextlib import closing
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaepriors_jax.objectives import weighted_mean
from vaepriors_jax.parallel.sharding import Data, over_replicas, place_batch, to_host
from vaepriors_jax.training.epoch import (
    METRICS,
    EpochKeys,
    FitState,
    Options,
    keep_best,
    train_on_arrays,
    train_step,
    validation_elbo,
    weights_of,
)
from vaepriors_jax.training.placed_stream import PlacedStream
from vaepriors_jax.training.prepare import Run
from vaepriors_jax.training.programs import compiled
from vaepriors_jax.training.state import TrainState
from vaepriors_jax.training.transforms import Batch

STEPS_UNDER_WAY = 2  # as many batches are in memory, beside those that are read ahead

Metrics = dict[str, jax.Array]
Hyperparameters = Mapping[str, jax.Array]


class Moving(NamedTuple):
    """A replica in the middle of an epoch.

    Attributes:
        train: the train state.
        done: whether the replica had stopped before this epoch; then nothing changes.
        metrics: means over the examples so far.
        weights: the weights of the examples so far, by "train" or "validation", of a stream whose examples have some.
    """

    train: TrainState
    done: jax.Array
    metrics: Metrics
    weights: Metrics


def run_epoch(
    options: Options,
    state: FitState,
    keys: EpochKeys,
    betas: jax.Array,
    hyperparameters: Hyperparameters,
    epoch: np.int32,
    train: Data | PlacedStream,
    validation: Data | PlacedStream | None,
) -> tuple[FitState, Metrics]:
    """An epoch of all replicas: train, validate, keep the best. Arguments and results are those of `one_epoch`."""
    replicas = keys, betas, hyperparameters
    moving = _moving(options, state, train, validation)
    if isinstance(train, PlacedStream):
        moving = _train_on_stream(options, moving, replicas, epoch, train)
    else:
        arguments = moving, *replicas, train
        moving = compiled(train_in_one, options, arguments)(*arguments)
    with closing(_parts(validation)) as parts:
        for part in parts:
            arguments = moving, *replicas, *part
            moving = compiled(stream_validation, options, arguments)(*arguments)
    _check_some_weight(moving, epoch)
    arguments = (state._replace(train=moving.train), moving.done, moving.metrics), *replicas, epoch
    state, metrics, _ = compiled(stream_end, options, arguments)(*arguments)
    return state, metrics


def _check_some_weight(moving: Moving, epoch: np.int32) -> None:
    """Raises ValueError where all weights of an epoch are 0, so that its means are means of nothing."""
    done = to_host(moving.done)
    for name, total in moving.weights.items():
        if not np.all(done | (to_host(total) > 0)):
            raise ValueError(
                f"Expected an example of a positive `weight` in each epoch of the {name} batches; all are 0 in epoch "
                f"{epoch}."
            )


def _train_on_stream(
    options: Options, moving: Moving, replicas: tuple[Any, ...], epoch: np.int32, train: PlacedStream
) -> Moving:
    """A step for each batch."""
    seen, steps, under_way = 0, {}, deque()
    with closing(train.of_epoch(int(epoch))) as batches:
        for size, batch in batches:
            arguments = moving, *replicas, num_steps(options, train), batch, np.int32(seen), np.int32(size)
            step = steps[size] = steps.get(size) or compiled(stream_step, options, arguments)
            (moving, taken), seen = step(*arguments), seen + size
            under_way.append(taken)
            if len(under_way) > STEPS_UNDER_WAY:
                jax.block_until_ready(under_way.popleft())
    if not seen:
        raise ValueError(f"Expected a batch in each epoch of {train.batches.name}; got none in epoch {epoch}.")
    return moving


def compile_training(run: Run) -> None:
    """Compiles a step, or the steps on arrays, so that the first epoch finds them."""
    state, *replicas, _, train, validation = run.arguments(run.start, 1)
    moving = _moving(run.options, state, train, validation)
    if not isinstance(train, PlacedStream):
        compiled(train_in_one, run.options, (moving, *replicas, train))
        return
    batch = place_batch(run.options.mesh, train.batches.check(train.batches.first))
    numbers = np.int32(0), np.int32(run.options.batch_size)
    compiled(stream_step, run.options, (moving, *replicas, num_steps(run.options, train), batch, *numbers))


def num_steps(options: Options, train: PlacedStream) -> np.int32:
    """The number of steps in an epoch, which a warm-up reads."""
    number = train.batches.num_batches
    if number is None and options.objective.warmup_epochs:
        raise ValueError(
            "Expected the number of batches in an epoch, of which a warm-up is a multiple; the batches have no `len`. "
            "Pass `vp.Stream(batches, batches_per_epoch=...)`."
        )
    return np.int32(number or 0)


def _parts(
    validation: Data | PlacedStream | None,
) -> Generator[tuple[Data, np.ndarray | None, jax.Array | None], None, None]:
    """The validation data in parts: the arrays, their places among all, and which rows are examples."""
    if isinstance(validation, PlacedStream):
        with closing(validation.parts()) as parts:
            for part in parts:
                yield part.arrays, part.places, part.is_example
    elif validation is not None:
        yield validation, None, None


def _moving(
    options: Options, state: FitState, train: Data | PlacedStream, validation: Data | PlacedStream | None
) -> Moving:
    """All replicas before the first step of an epoch."""
    streams = {"train": train, "validation": validation}
    weighed = [
        name for name, data in streams.items() if isinstance(data, PlacedStream) and "weight" in data.batches.first
    ]
    return Moving(state.train, *_start(options.mesh, validation is not None, tuple(weighed))(state))


@lru_cache(maxsize=32)
def _start(mesh: Mesh | None, validates: bool, weighed: tuple[str, ...]) -> Any:
    """Makes the compiled program that gives what `Moving` starts from: who is done, metrics and weights of nothing."""
    names = (*METRICS, *(["validation_elbo"] if validates else []))

    def start(state: FitState) -> tuple[jax.Array, Metrics, Metrics]:
        done = state.stopped | (state.train.failed_step >= 0)
        weights = {name: jnp.zeros(done.shape) for name in weighed}
        return done, {name: jnp.where(done, jnp.nan, 0.0) for name in names}, weights

    return jax.jit(start, out_shardings=None if mesh is None else over_replicas(mesh))


def stream_step(
    options: Options,
    moving: Moving,
    keys: EpochKeys,
    beta: jax.Array,
    hyperparameters: Hyperparameters,
    num_steps: jax.Array,
    batch: Batch,
    seen: jax.Array,
    size: jax.Array,
) -> tuple[Moving, jax.Array]:
    """A step of one replica on a batch of `size` examples, after `seen` others in this epoch.

    The number of steps comes beside the state, which the next step takes over: it tells when this one has ended.
    """

    def step() -> Moving:
        train, terms = train_step(options, moving.train, keys.steps, beta, hyperparameters, num_steps, batch)
        before, more, weights = seen, size, moving.weights
        if "train" in weights:
            before, more = weights["train"], jnp.sum(batch["weight"], dtype=weights["train"].dtype)
            weights = weights | {"train": before + more}
        means = {name: _mean(moving.metrics[name], before, getattr(terms, name), more) for name in METRICS}
        return Moving(train, moving.done, moving.metrics | means, weights)

    moved = jax.lax.cond(moving.done, lambda: moving, step)
    return moved, moved.train.step


def train_in_one(
    options: Options,
    moving: Moving,
    keys: EpochKeys,
    beta: jax.Array,
    hyperparameters: Hyperparameters,
    data: Data,
) -> Moving:
    """Trains one replica on arrays for an epoch."""

    def train() -> Moving:
        state, means = train_on_arrays(options, moving.train, keys, beta, hyperparameters, data)
        metrics = {name: means[name].astype(moving.metrics[name].dtype) for name in METRICS}
        return moving._replace(train=state, metrics=moving.metrics | metrics)

    return jax.lax.cond(moving.done, lambda: moving, train)


def stream_validation(
    options: Options,
    moving: Moving,
    keys: EpochKeys,
    beta: jax.Array,
    hyperparameters: Hyperparameters,
    data: Data,
    places: jax.Array | None,
    is_example: jax.Array | None,
) -> Moving:
    """Evaluates one replica on a part of the validation data, at `places` among all."""
    del beta, hyperparameters

    def evaluate() -> Moving:
        values = validation_elbo(options, moving.train, keys.validation, data, places)
        before, weights, weight = moving.metrics["validation_elbo"], moving.weights, weights_of(data)
        if places is None or is_example is None:
            mean = weighted_mean(values, weight)
        elif weight is not None:
            weight = jnp.where(is_example, weight, 0).astype(weights["validation"].dtype)
            total = jnp.sum(weight)
            mean = _mean(before, weights["validation"], weighted_mean(values, weight), total)
            weights = weights | {"validation": weights["validation"] + total}
        else:
            mean = _mean(before, places[0], jnp.mean(values, where=is_example), jnp.sum(is_example))
        metrics = moving.metrics | {"validation_elbo": mean.astype(before.dtype)}
        return moving._replace(metrics=metrics, weights=weights)

    return jax.lax.cond(moving.done, lambda: moving, evaluate)


def stream_end(
    options: Options,
    moved: tuple[FitState, jax.Array, Metrics],
    keys: EpochKeys,
    beta: jax.Array,
    hyperparameters: Hyperparameters,
    epoch: jax.Array,
) -> tuple[FitState, Metrics, jax.Array]:
    """Ends the epoch of one replica: keeps the best, stops early. Returns all that it was given, for its memory."""
    del keys, beta, hyperparameters
    state, done, metrics = moved
    ended = partial(keep_best, options, state, state.train, epoch, metrics.get("validation_elbo"))
    return jax.lax.cond(done, lambda: state, ended), metrics, done


def _mean(mean: jax.Array, count: jax.Array, value: jax.Array, more: jax.Array) -> jax.Array:
    """The mean over `count` examples and `more` others, whose mean is `value`; or over weights of them."""
    total = count + more
    share = (more / jnp.where(total > 0, total, 1)).astype(mean.dtype)
    return mean + share * (value.astype(mean.dtype) - mean)
