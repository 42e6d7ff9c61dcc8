"""`fit`, the whole of training: each epoch is one compiled program, and several replicas train at once."""

import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from tqdm import tqdm

from vaepriors_jax.moved import moved_keywords
from vaepriors_jax.objective_options import DEFAULT, MOVED_OPTIONS, Objective
from vaepriors_jax.parallel.distributed import explain_lost_process
from vaepriors_jax.parallel.sharding import to_host
from vaepriors_jax.training.averaging import evaluated_params
from vaepriors_jax.training.callback import Callback, Epoch, check_callback, wants_to_stop
from vaepriors_jax.training.checkpoint import Checkpoints, Folder, History, NoFolder, check_checkpoints, open_folder
from vaepriors_jax.training.epoch import FitState
from vaepriors_jax.training.failures import Failure, failures_of
from vaepriors_jax.training.fingerprint import batch_of, fingerprint
from vaepriors_jax.training.guards import Guards, unreached_beta
from vaepriors_jax.training.placed_stream import PlacedStream
from vaepriors_jax.training.prepare import Run, check_epochs, check_run, open_data, place_run
from vaepriors_jax.training.programs import epoch_program
from vaepriors_jax.training.progress import Lines, compiling, open_bar
from vaepriors_jax.training.result import FitResult, Trained, result_of
from vaepriors_jax.training.start import Start
from vaepriors_jax.training.stream_epoch import compile_training, run_epoch
from vaepriors_jax.training.streams import StreamLike
from vaepriors_jax.training.transforms import Transform
from vaepriors_jax.training.user_functions import measure_functions
from vaepriors_jax.vae import VAE, VAEParams

EpochProgram = Callable[..., tuple[FitState, Mapping[str, jax.Array]]]


@moved_keywords(
    **MOVED_OPTIONS,
    checkpoint_dir="checkpoints=folder",
    checkpoint_every="checkpoints=vp.Checkpoints(folder, every=...)",
    description="progress=...",
)
def fit(
    vae: VAE,
    params: VAEParams | Start,
    key: jax.Array,
    data: Mapping[str, Any] | StreamLike,
    optimizer: optax.GradientTransformation | Callable[..., optax.GradientTransformation],
    *,
    num_epochs: int,
    batch_size: int | None = None,
    validation: Mapping[str, Any] | StreamLike | None = None,
    patience: int | None = None,
    objective: Objective = DEFAULT,
    transform: Transform | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    checkpoints: str | Path | Checkpoints | None = None,
    progress: bool | str = True,
    callback: Callback | None = None,
    mesh: Mesh | None = None,
) -> FitResult:
    """Trains a VAE, or several replicas of it as one program.

    Arrays lie on the device. An epoch is one compiled program that shuffles, trains and validates. Examples that do
    not fill a last batch are left out of the epoch; shuffling leaves out others each time. Validation is at beta = 1,
    also during warm-up.

    A batch of keys [R] trains R replicas. `params` then have a leading axis of R; the objective's `beta` and
    `hyperparameters` may have one. Each replica stops early on its own. A replica whose loss or gradient is not finite
    is frozen with its last good parameters and reported; the others go on. On accelerators replicas are mapped
    (`vmap`). On a CPU they run one after another within the program, which is faster there, and one that has stopped
    costs nothing.

    `fit` warns, once for each replica, of a posterior that has collapsed, a mixture that uses one component,
    pseudo-inputs that do not move or that coincide, and a warm-up longer than the run. It looks every tenth epoch after
    warm-up.

    With a mesh, its devices share the examples and each batch, and all hold the parameters. Shuffling and keys, and so
    results up to float error, are those of one device. With several processes (see `vaepriors_jax.parallel.initialize`)
    all call `fit`, each with its own part of the data, and all get the same result. The data set is the parts in the
    order of processes; they may differ in size. Parameters and keys are those of process 0. It alone shows progress,
    warns, and writes the checkpoints, in a folder that all processes can read.

    Args:
        vae: the VAE.
        params: initial parameters, which are copied; or `vp.start_from(...)`, those of another run. For networks with
            BatchNorm or Dropout they hold `vp.Variables` (see `vaepriors_jax.networks`).
        key: a key, or a batch of keys [R].
        data: {"x": [N, ...]} and per-example context such as "y": [N]; or batches of such dicts, which need not fit
            into memory: a list, a loader, a function of the epoch, or a `vp.Stream`. An entry "weight" [N] weighs the
            examples: the loss of a batch is sum(weight * loss) / sum(weight), and so are the metrics and the validation
            ELBO. Statistics of BatchNorm are not weighted. An entry that nothing reads gives a warning,
            unless it is `y`.
        optimizer: an optax transformation, or with `hyperparameters` a function that makes one from them. See
            `make_train_step` for the extra arguments that it gets, and `average_params` for an average of the
            parameters over the steps, which is then validated and returned.
        num_epochs: number of epochs, at most.
        batch_size: examples in a step, over all devices; 100 by default. Batches come with a size of their own.
        validation: like `data`; arrays or batches, whichever the data are. Where training binarises, pass it binarised.
        patience: stop after this many epochs without a better validation ELBO, counted from the end of warm-up.
        objective: options of the objective, such as `vp.Objective(beta=0.5, warmup_epochs=10)`.
        transform: `transform(key, batch)` gives the batch that is trained on, such as `binarize`. It is compiled.
        hyperparameters: arrays [R] by name, one value for each replica, such as {"learning_rate": ...}.
        checkpoints: a folder, or `vp.Checkpoints(folder, every=1)`. `fit` resumes from the checkpoint that it finds
            there. Only `num_epochs`, `patience`, the progress bar, the interval and the devices may differ from the
            first call.
        progress: show a progress bar with the running ELBO (mean over replicas). Text is shown in front of it, and
            such a bar is removed at its end. Where the output is no terminal and no notebook, lines are printed, at
            most one for an epoch and one every ten seconds.
        callback: `callback(epoch)` is called after each epoch with a `vp.Epoch`: its number, the metrics, the
            parameters and the train state. If it returns True, the run stops there: a checkpoint is written, and the
            result is returned. `fit` goes on from that checkpoint when it is called again.
        mesh: devices to train on, such as `vaepriors_jax.parallel.make_mesh()`. Its axis "data" shares the examples,
            an axis "replicas" the replicas. Each device holds its part of the data (a copy for each place on
            "replicas"), two integers for each example of the whole data set, and the parameters of its replicas.

    Returns:
        A `FitResult`.

    Raises:
        TypeError: `params`, `key` or `optimizer` of another kind, or parameters that are not floats.
        ValueError: an argument out of range; data that are not finite, outside the likelihood's support, with labels
            outside the classes, or fewer than a batch; a checkpoint of another run, or one that cannot be read; a batch
            or replicas that the mesh does not divide; a process without examples, or with arguments of its own.
        TrainingFailedError: all replicas were frozen.
        CheckpointError: a checkpoint cannot be written.
        ProcessLostError: another process was lost.

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
    check_epochs(num_epochs, patience, validation)
    opened, validated, batch_size = open_data(data, validation, batch_size, num_epochs, mesh)
    check_callback(callback)
    checkpoints = check_checkpoints(checkpoints)
    params, origin = params if isinstance(params, Start) else (params, None)
    options, replicas = check_run(
        vae,
        params,
        key,
        optimizer,
        objective,
        batch_size,
        patience=patience,
        transform=transform,
        hyperparameters=hyperparameters,
        mesh=mesh,
    )
    run = place_run(options, replicas, num_epochs, opened, validated)
    mark = fingerprint(run, opened, validated, origin and origin._asdict())
    with open_folder(checkpoints, options.num_replicas) as folder:
        mark = folder.check(mark, partial(measure_functions, run, batch_of(opened)))
        folder.check_space(run.start)
        description, hidden = _shown(run, progress)
        with compiling(description, hidden=hidden):
            program, compile_seconds = compile_epoch(run)
        trained = train_epochs(run, program, folder, num_epochs, progress, callback)
    return result_of(run, trained, compile_seconds, mark, folder.as_start())


def compile_epoch(run: Run) -> tuple[EpochProgram, float]:
    """Compiles an epoch of all replicas, and says how many seconds that took."""
    began = time.perf_counter()
    if isinstance(run.train, PlacedStream) or isinstance(run.validation, PlacedStream):
        compile_training(run)
        program = partial(run_epoch, run.options)
    else:
        program = epoch_program(run.options, run.arguments(run.start, 1))
    return program, time.perf_counter() - began


def train_epochs(
    run: Run,
    program: EpochProgram,
    folder: Folder | NoFolder,
    num_epochs: int,
    progress: bool | str,
    callback: Callback | None,
) -> Trained:
    """Runs the epochs that are left, until all replicas have stopped; checkpoints on the way and at the end."""
    state, history, seconds = folder.restore(run.start)
    failures: list[Failure] = []
    stop, unsaved = False, None
    guards = Guards(run)
    description, hidden = _shown(run, progress)
    with open_bar(description, num_epochs, len(history), hidden=hidden) as bar, explain_lost_process():
        _warn(run, bar, unreached_beta(run, num_epochs))
        while len(history) < num_epochs and not stop and not unsaved and not _finished(state):
            began = time.perf_counter()
            state, metrics = program(*run.arguments(state, len(history) + 1))
            history.append({name: to_host(value) for name, value in metrics.items()})
            seconds.append(time.perf_counter() - began)
            failures += (new := _new_failures(state, failures, guards))
            _warn(run, bar, [*map(str, new), *guards.after_epoch(state, history)])
            bar.set_postfix({name: f"{_mean(value):.2f}" for name, value in history[-1].items()}, refresh=False)
            bar.update()
            stop = _ends_here(run, state, history, callback)
            unsaved = folder.after_epoch(state, history, seconds)
        failures += (new := _new_failures(state, failures, guards))
        _warn(run, bar, map(str, new))
    unsaved = unsaved or folder.save(state, history, seconds)
    return Trained(state, history, failures, seconds, unsaved)


def _ends_here(run: Run, state: FitState, history: History, callback: Callback | None) -> bool:
    """Calls the callback after an epoch, and says whether the run stops there."""
    several = run.options.mesh is not None and jax.process_count() > 1
    if callback is None and not several:
        return False
    metrics = {name: np.asarray(run.unstack(value)) for name, value in history[-1].items()}
    train = run.as_given(state.train)
    return wants_to_stop(callback, Epoch(len(history), metrics, evaluated_params(train), train), several=several)


def _shown(run: Run, progress: bool | str) -> tuple[str | None, bool]:
    """The text in front of the progress bar, and whether it is hidden; of several processes the first shows one."""
    return progress if isinstance(progress, str) else None, not (progress and _is_first_process(run))


def _is_first_process(run: Run) -> bool:
    return run.options.mesh is None or jax.process_index() == 0


def _finished(state: FitState) -> bool:
    return bool(np.all(to_host(state.stopped) | (to_host(state.train.failed_step) >= 0)))


def _mean(values: np.ndarray) -> float:
    """The mean over the replicas that were trained."""
    trained = values[~np.isnan(values)]
    return float(np.mean(trained)) if trained.size else float("nan")


def _new_failures(state: FitState, known: list[Failure], guards: Guards) -> list[Failure]:
    """The replicas that have failed since the last call, with the causes that can be seen."""
    frozen = {failure.replica for failure in known}
    new = [failure for failure in failures_of(state) if failure.replica not in frozen]
    return [failure._replace(cause=guards.cause_of_failure(state, failure.replica)) for failure in new]


def _warn(run: Run, bar: tqdm | Lines, messages: Iterable[str]) -> None:
    """Warns, beside the bar; of several processes the first does."""
    for message in messages:
        bar.clear()
        if _is_first_process(run):
            # The line that called `fit`: past train_epochs, fit and its decorator.
            warnings.warn(message, RuntimeWarning, stacklevel=5)
