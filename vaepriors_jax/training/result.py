"""What `fit` returns."""

from typing import NamedTuple

import jax
import numpy as np

from vaepriors_jax.parallel.sharding import to_host
from vaepriors_jax.training.epoch import FitState
from vaepriors_jax.training.failures import Failure
from vaepriors_jax.training.fingerprint import Fingerprint, in_words
from vaepriors_jax.training.prepare import Run
from vaepriors_jax.training.state import TrainState
from vaepriors_jax.vae import VAEParams


class FitResult(NamedTuple):
    """What `fit` returns. With replicas every array has a leading axis for them. `repr` gives a summary.

    Attributes:
        params: parameters of the best epoch by validation ELBO, or of the last epoch without validation data. Where the
            optimiser is one of `average_params`, they are averages.
        state: the train state at the end.
        best_epoch: the epoch of `params`, counted from 1; 0 for the initial parameters.
        history: "elbo", "reconstruction", "kl" of training and "validation_elbo", in nats, by epoch [epochs]. NaN where
            a replica had stopped while others went on.
        failures: the replicas that were frozen.
        seconds_per_epoch: median wall-clock time of an epoch of all replicas together, without compilation.
        compile_seconds: time of compilation.
        fingerprint: what tells the run from others, as plain data: its "name", where it was "started_from", what its
            checkpoints must agree in ("run" and "functions"), and the "environment".
    """

    params: VAEParams
    state: TrainState
    best_epoch: np.ndarray
    history: dict[str, np.ndarray]
    failures: tuple[Failure, ...]
    seconds_per_epoch: float
    compile_seconds: float
    fingerprint: Fingerprint | None = None

    def __repr__(self) -> str:
        counts = {name: sum(map(np.size, jax.tree.leaves(part))) for name, part in self.params._asdict().items()}
        sizes = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        lines = [f"params: {sum(counts.values()):,} numbers ({sizes})", f"best_epoch: {_in_short(self.best_epoch)}"]
        for name, values in self.history.items():
            lines.append(f"history[{name!r}]: {list(np.shape(values))}, at last {_in_short(_last(values))}")
        first = f", first: {self.failures[0]}" if self.failures else ""
        lines.append(f"failures: {len(self.failures)}{first}")
        lines.append(f"seconds_per_epoch: {self.seconds_per_epoch:.3g}, compile_seconds: {self.compile_seconds:.3g}")
        lines += [] if self.fingerprint is None else [f"run: {in_words(self.fingerprint)}"]
        return "\n".join(["FitResult(", *(f"  {line}" for line in lines), ")"])


def _last(values: np.ndarray) -> np.ndarray:
    """The last value of each replica [...], of those before it stopped, given [..., epochs]."""
    rows = np.reshape(values, (-1, np.shape(values)[-1]))
    last = [row[~np.isnan(row)][-1] if (~np.isnan(row)).any() else np.nan for row in rows]
    return np.reshape(last, np.shape(values)[:-1])


def _in_short(values: np.ndarray) -> str:
    """A number, or the numbers of replicas: of many the first and the last three."""
    return np.array2string(np.asarray(values), precision=2, threshold=6, floatmode="fixed", separator=", ")


class TrainingFailedError(RuntimeError):
    """No replica is left to train. `result` holds the `FitResult` up to there."""

    def __init__(self, message: str, result: FitResult):
        """Takes the message and the result."""
        super().__init__(message)
        self.result = result


class CheckpointError(OSError):
    """A checkpoint cannot be written, such as on a full disk. `result` holds the `FitResult` up to there."""

    result: FitResult | None = None


class Trained(NamedTuple):
    """What the epochs of a run gave.

    Attributes:
        state: the state after the last epoch.
        history: the metrics of each epoch, [R] each.
        failures: the replicas that were frozen, in the order in which they failed.
        seconds: wall-clock time of each epoch.
        unsaved: why the run ended, if its state could not be saved.
    """

    state: FitState
    history: list[dict[str, np.ndarray]]
    failures: list[Failure]
    seconds: list[float]
    unsaved: CheckpointError | None = None


def result_of(run: Run, trained: Trained, compile_seconds: float, fingerprint: Fingerprint, as_start: str) -> FitResult:
    """Makes the result.

    Raises:
        TrainingFailedError: all replicas were frozen; it says to start from `as_start`.
        CheckpointError: the state could not be saved.
    """
    state, history, failures, seconds, unsaved = trained
    names = history[0] if history else {}
    result = FitResult(
        params=run.as_given(state.best_params),
        state=run.as_given(state.train),
        best_epoch=run.unstack(to_host(state.best_epoch)),
        history={name: run.unstack(np.stack([row[name] for row in history], axis=1)) for name in names},
        failures=tuple(failures),
        seconds_per_epoch=float(np.median(seconds)) if seconds else float("nan"),
        compile_seconds=compile_seconds,
        fingerprint=fingerprint,
    )
    if len(failures) == run.options.num_replicas:
        known = all(failure.cause for failure in failures)
        advice = "" if known else " Lower the learning rate, or look for extreme values in the data."
        raise TrainingFailedError(
            f"Training stopped: {'; '.join(map(str, failures))}.{advice} The last good parameters are in the `result` "
            f"of this exception. To start a new run from them, pass `{as_start}` as `params`, and another folder as "
            "`checkpoints`.",
            result,
        )
    if unsaved is not None:
        unsaved.result = result
        raise unsaved
    return result
