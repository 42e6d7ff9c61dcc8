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
from jax.sharding import Mesh
from tqdm import tqdm

from vaepriors_jax.checks import check_key, check_not_negative, check_positive_integer
from vaepriors_jax.data_checks import check_data, check_params
from vaepriors_jax.parallel.distributed import check_same, explain_lost_process
from vaepriors_jax.parallel.sharding import check_mesh, load, num_examples, replicate, to_host, to_one_device
from vaepriors_jax.training.checkpoint import open_run
from vaepriors_jax.training.checks import (
    check_hyperparameters,
    check_optimizer,
    check_per_replica,
    check_precision,
    check_replicas,
    check_schedule,
    check_trainable,
)
from vaepriors_jax.training.epoch import Options, Progress, epoch_program, start_program
from vaepriors_jax.training.fingerprint import fingerprint
from vaepriors_jax.training.state import TrainState
from vaepriors_jax.training.step import TERMS
from vaepriors_jax.training.transforms import Transform
from vaepriors_jax.vae import VAE, VAEParams


class Failure(NamedTuple):
    """A replica that was frozen, because its loss or its gradient was not finite.

    Attributes:
        replica: its number, from 0.
        step: the step at which it was frozen.
        term: what was not finite: "reconstruction", "kl" or "gradient".
    """

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
        history: "elbo", "reconstruction", "kl" of training and "validation_elbo", in nats, by epoch [epochs]; NaN where
            a replica had stopped and others went on.
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
    beta: float | jax.Array | Callable[[jax.Array], Any] = 1.0,
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
    callback: Callable[[int, VAEParams], Any] | None = None,
    mesh: Mesh | None = None,
) -> FitResult:
    """Trains a VAE, or several replicas of it as one program.

    The data lie on the device; an epoch is one compiled program that shuffles, trains and validates. Each epoch leaves
    out the remainder of examples that do not fill a batch (others each time). Validation is at beta = 1, whatever the
    warm-up.

    A batch of keys [R] trains R replicas: `params` have a leading axis of R, `beta` and `hyperparameters` may have one,
    and each replica stops early and fails on its own: it is then left as it is. A replica whose loss or gradient is not
    finite is frozen with its last good parameters and reported. On accelerators replicas are mapped (`vmap`); on a CPU
    they run one after another within the program, which is faster there, and one that has stopped costs nothing.

    With a mesh the examples are shared out over its devices, and so is each batch; parameters are on all of them.
    Shuffling, keys and so results are those of one device, up to float error. With several processes (see
    `vaepriors_jax.parallel.initialize`) all call `fit`, each with its share of the data, and all get the same
    result; the data set is all shares, in the order of processes, which need not be of one size. Parameters and keys
    are those of process 0; it alone shows progress and warns, and writes the checkpoints, in a folder that all can
    read.

    Args:
        vae: the VAE.
        params: initial parameters; they are copied.
        key: a key, or a batch of keys [R].
        data: {"x": [N, ...]} and per-example context such as "y": [N].
        optimizer: an optax transformation, or with `hyperparameters` a function that makes one from them. See
            `make_train_step` for what it may read.
        num_epochs: the most epochs.
        batch_size: examples a step, of all devices together.
        validation: like `data`; already binarised where training binarises.
        patience: stop after this many epochs without a better validation ELBO, counted from the end of warm-up.
        beta: weight of the KL in the objective, after warm-up; or a schedule of the step, for all replicas.
        warmup_epochs: the weight rises linearly from 0 and is exactly `beta` from this epoch on.
        free_bits: see `elbo`.
        num_samples: see `elbo`.
        kl_method: see `kl_divergence`.
        transform: `transform(key, batch)` inside the compiled program, such as `binarize`.
        hyperparameters: arrays [R] by name, one value for each replica, such as {"learning_rate": ...}.
        checkpoint_dir: a folder for checkpoints. A run that finds one of its own there goes on from it; number of
            epochs, patience, `checkpoint_every` and devices may be others, and nothing else.
        checkpoint_every: epochs between checkpoints.
        progress: show a progress bar with the running ELBO (mean over replicas).
        description: what the bar is called.
        callback: `callback(epoch, params)` is called after each epoch, with the parameters that it ended with. The next
            epoch reuses their memory: keep copies, such as `np.array(...)`.
        mesh: devices to train on, such as `vaepriors_jax.parallel.make_mesh()`: an axis "data" that the examples are
            shared out over, and, where wanted, "replicas" for the replicas. Each device has its share of the data (a
            copy of it for each place on "replicas"), two integers for each example of the whole data set, and its
            replicas' parameters.

    Returns:
        A `FitResult`.

    Raises:
        TypeError: `params`, `key` or `optimizer` of another kind, or parameters that are not floats.
        ValueError: an argument out of range; data that are not finite, outside the likelihood's support, with labels
            outside the classes, or fewer than a batch; a checkpoint of another run, or that cannot be read; a
            batch or replicas that the mesh does not divide; a process without examples, or with arguments of its own.
        TrainingFailedError: no replica is left.
        ProcessLostError: another process is gone.

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
    check_not_negative(warmup_epochs=warmup_epochs, free_bits=free_bits)
    if warmup_epochs:
        check_positive_integer(warmup_epochs=warmup_epochs)
    schedule, beta = (beta, 1.0) if callable(beta) else (None, beta)
    if schedule is not None:
        check_schedule(schedule)
    check_not_negative(beta=beta)
    check_precision("argument `beta`", beta)
    if hyperparameters:
        check_hyperparameters(hyperparameters)
    if patience is not None:
        check_positive_integer(patience=patience)
        if validation is None:
            raise ValueError("Expected `validation` data with `patience`: the validation ELBO tells when to stop.")
    check_optimizer(optimizer, hyperparameters)
    params, key = check_params(params), check_key(key)
    check_trainable(params)
    one = key.ndim == 0  # one replica, without a leading axis
    keys = key[None] if one else key
    num_replicas = len(keys)
    if not one:
        check_replicas(params, num_replicas)
    hyper = {name: check_per_replica(name, value, num_replicas) for name, value in (hyperparameters or {}).items()}
    betas = check_per_replica("beta", beta, num_replicas, jnp.float32)
    mesh = check_mesh(mesh, batch_size, num_replicas)
    if mesh is not None:
        _check_same_everywhere(num_epochs, batch_size, num_replicas, warmup_epochs, patience, data, validation)
    train = load(mesh, data, partial(check_data, vae, params, key=key, transform=transform))
    valid = None
    if validation is not None:
        valid = load(mesh, validation, partial(check_data, vae, params, key=key), "the validation data")
    if num_examples(train) < batch_size:
        raise ValueError(
            f"Expected at least one batch of {batch_size} examples; got {num_examples(train)}. Use a smaller "
            "`batch_size`."
        )
    stacked = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None] if one else jnp.asarray(leaf), params)
    stacked, keys, betas, hyper = replicate(mesh, (stacked, keys, betas, hyper), replicas=True)
    first_process = mesh is None or jax.process_index() == 0

    options = Options(
        vae=vae,
        optimizer=optimizer,
        num_replicas=num_replicas,
        num_steps=num_examples(train) // batch_size,
        batch_size=batch_size,
        warmup_epochs=warmup_epochs,
        patience=patience,
        free_bits=float(free_bits),
        num_samples=num_samples,
        kl_method=kl_method,
        transform=transform,
        mesh=mesh,
        beta=schedule,
    )

    state = start_program(optimizer, mesh)(stacked, hyper)
    arguments = (keys, betas, hyper)
    describe = partial(fingerprint, options, state, *arguments, data, validation)
    pick: Callable[[Any], Any] = (lambda array: array[0]) if one else (lambda array: array)
    history: list[dict[str, np.ndarray]] = []
    seconds: list[float] = []
    failures: dict[int, Failure] = {}
    with open_run(checkpoint_dir, num_replicas, describe) as checkpoints:
        checkpoints.check()
        began = time.perf_counter()
        compiled = epoch_program(options, (state, *arguments, np.int32(1), train, valid))
        compile_seconds = time.perf_counter() - began
        state, history = checkpoints.restore(state)
        hidden = not (progress and first_process)
        bar = tqdm(total=num_epochs, initial=len(history), unit="epoch", desc=description, disable=hidden)
        with bar, explain_lost_process():
            while len(history) < num_epochs and not _finished(state):
                began = time.perf_counter()
                state, metrics = compiled(state, *arguments, np.int32(len(history) + 1), train, valid)
                history.append({name: to_host(value) for name, value in metrics.items()})
                seconds.append(time.perf_counter() - began)
                _report(state, failures, bar, first_process)
                bar.set_postfix({name: f"{_mean(value):.2f}" for name, value in history[-1].items()}, refresh=False)
                bar.update()
                if callback is not None:
                    callback(len(history), jax.tree.map(pick, to_one_device(mesh, state.train.params)))
                if len(history) % checkpoint_every == 0:
                    checkpoints.save(state, history)
            _report(state, failures, bar, first_process)
        checkpoints.save(state, history)

    result = FitResult(
        params=jax.tree.map(pick, to_one_device(mesh, state.best_params)),
        state=jax.tree.map(pick, to_one_device(mesh, state.train)),
        best_epoch=pick(to_host(state.best_epoch)),
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


def _check_same_everywhere(
    num_epochs: int,
    batch_size: int,
    num_replicas: int,
    warmup_epochs: int,
    patience: int | None,
    data: Mapping[str, Any],
    validation: Mapping[str, Any] | None,
) -> None:
    """Checks that all processes are about to do the same."""

    def shapes(data: Mapping[str, Any]) -> dict[str, Any]:
        return {name: np.shape(value)[1:] for name, value in sorted(data.items())}

    check_same(
        f"num_epochs={num_epochs}, batch_size={batch_size}, replicas={num_replicas}, warmup_epochs={warmup_epochs}, "
        f"patience={patience}, examples of shape {shapes(data)}, for validation {validation and shapes(validation)}"
    )


def _mean(values: np.ndarray) -> float:
    """The mean over the replicas that were trained."""
    trained = values[~np.isnan(values)]
    return float(np.mean(trained)) if trained.size else float("nan")


def _finished(state: Progress) -> bool:
    return bool(np.all(to_host(state.stopped) | (to_host(state.train.failed_step) >= 0)))


def _report(state: Progress, failures: dict[int, Failure], bar: tqdm, first_process: bool) -> None:
    """Notes the replicas that have failed since the last call, and warns of them."""
    steps, terms = to_host(state.train.failed_step), to_host(state.train.failed_term)
    for replica in np.flatnonzero(steps >= 0).tolist():
        if replica not in failures:
            failures[replica] = Failure(replica, int(steps[replica]), TERMS[int(terms[replica])])
            bar.clear()
            if first_process:
                warnings.warn(str(failures[replica]), RuntimeWarning, stacklevel=3)
