"""The whole of training: `fit` scans epochs on the device, and trains several replicas as one program."""

import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

from vaepriors_jax.base import VAE, VAEParams
from vaepriors_jax.checkpoint import open_run
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.evaluation.likelihood import map_elbo
from vaepriors_jax.training import TERMS, TrainState, Transform, init_train_state, update


class Failure(NamedTuple):
    """A replica whose loss or gradient was not finite, the step at which it was frozen, and what was not finite."""

    replica: int
    step: int
    term: str

    def __str__(self) -> str:
        return f"replica {self.replica} was frozen at step {self.step}: {self.term} is not finite"


class FitResult(NamedTuple):
    """What `fit` gives back. With replicas every array has a leading axis for them.

    Attributes:
        params: parameters of the best epoch by validation (of the last one without validation data).
        state: the train state at the end.
        best_epoch: the epoch of `params`, counted from 1; 0 for the initial parameters.
        history: "elbo", "reconstruction", "kl" of training and "validation_elbo", in nats, by epoch [epochs].
        failures: the replicas that were frozen.
        seconds_per_epoch: median wall-clock time of an epoch, of all replicas together, compilation apart.
        compile_seconds: time of compilation.
    """

    params: VAEParams
    state: TrainState
    best_epoch: np.ndarray
    history: dict[str, np.ndarray]
    failures: tuple[Failure, ...]
    seconds_per_epoch: float
    compile_seconds: float


class TrainingFailedError(RuntimeError):
    """No replica is left to train. `result` holds what there was before."""

    def __init__(self, message: str, result: FitResult):
        """Takes the message and what was reached."""
        super().__init__(message)
        self.result = result


class _Progress(NamedTuple):
    """What an epoch changes, for one replica."""

    train: TrainState
    best_params: VAEParams
    best_elbo: jax.Array
    best_epoch: jax.Array
    stopped: jax.Array


class _Options(NamedTuple):
    """What stays the same for the whole run."""

    num_steps: int
    batch_size: int
    warmup_epochs: int
    patience: int | None
    elbo: dict[str, Any]
    transform: Transform | None


def _epoch(
    vae: VAE,
    make_optimizer: Callable[..., optax.GradientTransformation],
    options: _Options,
    progress: _Progress,
    key: jax.Array,
    beta: jax.Array,
    hyperparameters: Mapping[str, jax.Array],
    epoch: jax.Array,
    data: Mapping[str, jax.Array],
    validation: Mapping[str, jax.Array] | None,
) -> tuple[_Progress, dict[str, jax.Array]]:
    """One epoch of one replica: shuffle, train, validate, keep the best. `epoch` counts from 1."""
    key_epoch, key_validation = jax.random.split(key)
    key_shuffle, key_steps = jax.random.split(jax.random.fold_in(key_epoch, epoch))
    num_examples = data["x"].shape[0]
    order = jax.random.permutation(key_shuffle, num_examples)
    order = order[: options.num_steps * options.batch_size].reshape(options.num_steps, options.batch_size)
    warmup_steps = options.warmup_epochs * options.num_steps

    def schedule(step: jax.Array) -> jax.Array:
        return beta * jnp.minimum(1.0, step / warmup_steps) if warmup_steps else beta

    def step(state: TrainState, rows: jax.Array) -> tuple[TrainState, Any]:
        batch = jax.tree.map(lambda array: array[rows], dict(data))
        return update(
            vae,
            make_optimizer(**hyperparameters),
            state,
            key_steps,
            batch,
            beta=schedule,
            transform=options.transform,
            **options.elbo,
        )

    state, terms = jax.lax.scan(step, progress.train, order)
    metrics = {name: jnp.mean(getattr(terms, name)) for name in ("elbo", "reconstruction", "kl")}
    alive = (state.failed_step < 0) & ~progress.stopped
    if validation is None:
        score, improved = progress.best_elbo, alive
    else:
        per_example = map_elbo(vae, state.params, key_validation, dict(validation), options.batch_size)
        score = metrics["validation_elbo"] = jnp.mean(per_example.elbo)
        improved = alive & (score > progress.best_elbo)
    best_params = jax.tree.map(lambda new, old: jnp.where(improved, new, old), state.params, progress.best_params)
    best_epoch = jnp.where(improved, epoch, progress.best_epoch)
    stopped = progress.stopped
    if options.patience is not None:
        stopped |= epoch - jnp.maximum(best_epoch, options.warmup_epochs) >= options.patience
    best_elbo = jnp.where(improved, score, progress.best_elbo)
    return _Progress(state, best_params, best_elbo, best_epoch, stopped), metrics


def fit(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: Mapping[str, Any],
    optimizer: optax.GradientTransformation | Callable[..., optax.GradientTransformation],
    *,
    num_epochs: int,
    batch_size: int = 100,
    validation: Mapping[str, Any] | None = None,
    patience: int | None = None,
    beta: float | jax.Array = 1.0,
    warmup_epochs: int = 0,
    free_bits: float = 0.0,
    num_samples: int = 1,
    kl_method: str = "auto",
    transform: Transform | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    checkpoint_dir: str | Path | None = None,
    checkpoint_every: int = 10,
    progress: bool = True,
    description: str | None = None,
) -> FitResult:
    """Trains a VAE, or several replicas of it as one program.

    The data lie on the device; an epoch is one compiled program that shuffles, trains and validates. Each epoch leaves
    out the remainder of examples that do not fill a batch (others each time). Validation is at beta = 1, whatever the
    warm-up.

    A batch of keys [R] trains R replicas: `params` have a leading axis of R, `beta` and `hyperparameters` may have one,
    and each replica stops early and fails on its own. A replica whose loss or gradient is not finite is frozen with its
    last good parameters and reported.

    Args:
        vae: the VAE.
        params: initial parameters; they are copied.
        key: a key, or a batch of keys [R].
        data: {"x": [N, ...]} and per-example context such as "y": [N].
        optimizer: an optax transformation, or with `hyperparameters` a function that makes one from them.
        num_epochs: the most epochs.
        batch_size: examples a step.
        validation: like `data`; already binarised where training binarises.
        patience: stop after this many epochs without a better validation ELBO, counted from the end of warm-up.
        beta: weight of the KL in the objective, after warm-up.
        warmup_epochs: the weight rises linearly from 0 and is exactly `beta` from this epoch on.
        free_bits: see `elbo`.
        num_samples: see `elbo`.
        kl_method: see `kl_divergence`.
        transform: `transform(key, batch)` inside the compiled program, such as `binarize`.
        hyperparameters: arrays [R] by name, one value for each replica, such as {"learning_rate": ...}.
        checkpoint_dir: a folder for checkpoints. A run that finds one of its own there goes on from it.
        checkpoint_every: epochs between checkpoints.
        progress: show a progress bar with the running ELBO (mean over replicas).
        description: what the bar is called.

    Returns:
        A `FitResult`.

    Raises:
        ValueError: data that are not finite, outside the likelihood's support, with labels outside the classes, or
            fewer than a batch; a checkpoint that cannot be read.
        TrainingFailedError: no replica is left.

    Example:
        >>> import jax, jax.numpy as jnp, optax, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(params @ x, jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(params @ z),
        ...     prior=vp.standard_normal(2))
        >>> params = vp.VAEParams(jnp.ones((2, 3)), jnp.ones((3, 2)), {})
        >>> data = {"x": jnp.ones((200, 3))}
        >>> result = vp.fit(vae, params, jax.random.key(0), data, optax.adam(1e-2), num_epochs=3, progress=False)
        >>> result.history["elbo"].shape
        (3,)
    """
    check_positive_integer(num_epochs=num_epochs, batch_size=batch_size, checkpoint_every=checkpoint_every)
    if patience is not None:
        check_positive_integer(patience=patience)
    data = check_data(vae, params, data, key, transform=transform)
    if validation is not None:
        validation = check_data(vae, params, validation, key)
    if len(data["x"]) < batch_size:
        raise ValueError(
            f"Expected at least one batch of {batch_size} examples; got {len(data['x'])}. Use a smaller `batch_size`."
        )
    one = key.ndim == 0  # one replica, without a leading axis
    keys = key[None] if one else key
    num_replicas = len(keys)
    stacked = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None] if one else jnp.asarray(leaf), VAEParams(*params))
    if any(leaf.shape[:1] != (num_replicas,) for leaf in jax.tree.leaves(stacked)):
        raise ValueError(f"Expected parameters with a leading axis of {num_replicas}, one for each key of `key`.")
    hyper = {name: jnp.broadcast_to(jnp.asarray(v), (num_replicas,)) for name, v in (hyperparameters or {}).items()}
    betas = jnp.broadcast_to(jnp.asarray(beta, jnp.float32), (num_replicas,))
    make_optimizer = optimizer if hyperparameters else lambda: optimizer

    options = _Options(
        num_steps=len(data["x"]) // batch_size,
        batch_size=batch_size,
        warmup_epochs=warmup_epochs,
        patience=patience,
        elbo={"free_bits": free_bits, "num_samples": num_samples, "kl_method": kl_method},
        transform=transform,
    )

    def start(params: VAEParams, hyper: Mapping[str, jax.Array]) -> _Progress:
        state = init_train_state(params, make_optimizer(**hyper))
        best_elbo, best_epoch = jnp.full((), -jnp.inf), jnp.zeros((), jnp.int32)
        return _Progress(state, state.params, best_elbo, best_epoch, jnp.zeros((), bool))

    state = jax.jit(jax.vmap(start))(stacked, hyper)
    run = _over_replicas(partial(_epoch, vae, make_optimizer, options), num_replicas)
    arguments = (keys, betas, hyper)
    began = time.perf_counter()
    compiled = jax.jit(run, donate_argnums=0).lower(state, *arguments, jnp.int32(1), data, validation).compile()
    compile_seconds = time.perf_counter() - began

    history: list[dict[str, np.ndarray]] = []
    seconds: list[float] = []
    failures: dict[int, Failure] = {}
    with open_run(checkpoint_dir, num_replicas) as checkpoints:
        state, history = checkpoints.restore(state)
        bar = tqdm(total=num_epochs, initial=len(history), unit="epoch", desc=description, disable=not progress)
        with bar:
            while len(history) < num_epochs and not _finished(state):
                began = time.perf_counter()
                state, metrics = compiled(state, *arguments, jnp.int32(len(history) + 1), data, validation)
                history.append({name: np.asarray(value) for name, value in metrics.items()})
                seconds.append(time.perf_counter() - began)
                _report(state, failures, bar)
                bar.set_postfix({name: f"{np.mean(value):.2f}" for name, value in history[-1].items()}, refresh=False)
                bar.update()
                if len(history) % checkpoint_every == 0:
                    checkpoints.save(state, history)
            _report(state, failures, bar)
        checkpoints.save(state, history)

    pick: Callable[[Any], Any] = (lambda array: array[0]) if one else (lambda array: array)
    result = FitResult(
        params=jax.tree.map(pick, state.best_params),
        state=jax.tree.map(pick, state.train),
        best_epoch=pick(np.asarray(state.best_epoch)),
        history={name: pick(np.stack([row[name] for row in history], axis=1)) for name in (history or [{}])[0]},
        failures=tuple(failures.values()),
        seconds_per_epoch=float(np.median(seconds)) if seconds else float("nan"),
        compile_seconds=compile_seconds,
    )
    if len(failures) == num_replicas:
        raise TrainingFailedError(
            f"Training stopped: {'; '.join(map(str, failures.values()))}. Lower the learning rate, or look for extreme "
            "values in the data. The last good parameters are in the `result` of this exception.",
            result,
        )
    return result


def _over_replicas(epoch: Callable[..., Any], num_replicas: int) -> Callable[..., Any]:
    """Maps an epoch over the leading axis of its first four arguments.

    One replica is not mapped, only stripped of the axis: batched products of one are slower on a CPU.
    """
    if num_replicas > 1:
        return jax.vmap(epoch, in_axes=(0, 0, 0, 0, None, None, None))

    def single(*arguments: Any) -> Any:
        mapped = jax.tree.map(lambda leaf: leaf[0], arguments[:4])
        return jax.tree.map(lambda leaf: leaf[None], epoch(*mapped, *arguments[4:]))

    return single


def _finished(state: _Progress) -> bool:
    return bool(np.all(np.asarray(state.stopped) | (np.asarray(state.train.failed_step) >= 0)))


def _report(state: _Progress, failures: dict[int, Failure], bar: tqdm) -> None:
    """Notes the replicas that have failed since the last call, and warns of them."""
    steps, terms = np.asarray(state.train.failed_step), np.asarray(state.train.failed_term)
    for replica in np.flatnonzero(steps >= 0).tolist():
        if replica not in failures:
            failures[replica] = Failure(replica, int(steps[replica]), TERMS[int(terms[replica])])
            bar.clear()
            warnings.warn(str(failures[replica]), RuntimeWarning, stacklevel=3)
