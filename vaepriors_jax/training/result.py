"""What `fit` returns."""

from typing import NamedTuple

import numpy as np

from vaepriors_jax.parallel.sharding import to_host
from vaepriors_jax.training.epoch import FitState
from vaepriors_jax.training.prepare import Run
from vaepriors_jax.training.state import TrainState
from vaepriors_jax.training.step import TERMS
from vaepriors_jax.vae import VAEParams


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
    """What `fit` returns. With replicas every array has a leading axis for them.

    Attributes:
        params: parameters of the best epoch by validation ELBO, or of the last epoch without validation data.
        state: the train state at the end.
        best_epoch: the epoch of `params`, counted from 1; 0 for the initial parameters.
        history: "elbo", "reconstruction", "kl" of training and "validation_elbo", in nats, by epoch [epochs]. NaN where
            a replica had stopped while others went on.
        failures: the replicas that were frozen.
        seconds_per_epoch: median wall-clock time of an epoch of all replicas together, without compilation.
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
    """No replica is left to train. `result` holds the `FitResult` up to there."""

    def __init__(self, message: str, result: FitResult):
        """Takes the message and the result."""
        super().__init__(message)
        self.result = result


class Trained(NamedTuple):
    """What the epochs of a run gave.

    Attributes:
        state: the state after the last epoch.
        history: the metrics of each epoch, [R] each.
        failures: the replicas that were frozen, in the order in which they failed.
        seconds: wall-clock time of each epoch that was run.
    """

    state: FitState
    history: list[dict[str, np.ndarray]]
    failures: list[Failure]
    seconds: list[float]


def failures_of(state: FitState) -> list[Failure]:
    """The replicas that are frozen."""
    steps, terms = to_host(state.train.failed_step), to_host(state.train.failed_term)
    return [Failure(r, int(steps[r]), TERMS[int(terms[r])]) for r in np.flatnonzero(steps >= 0).tolist()]


def result_of(run: Run, trained: Trained, compile_seconds: float) -> FitResult:
    """Makes the result, or raises TrainingFailedError if all replicas were frozen."""
    state, history, failures, seconds = trained
    names = history[0] if history else {}
    result = FitResult(
        params=run.as_given(state.best_params),
        state=run.as_given(state.train),
        best_epoch=run.unstack(to_host(state.best_epoch)),
        history={name: run.unstack(np.stack([row[name] for row in history], axis=1)) for name in names},
        failures=tuple(failures),
        seconds_per_epoch=float(np.median(seconds)) if seconds else float("nan"),
        compile_seconds=compile_seconds,
    )
    if len(failures) == run.options.num_replicas:
        raise TrainingFailedError(
            f"Training stopped: {'; '.join(map(str, failures))}. Lower the learning rate, or look for extreme values "
            "in the data. The last good parameters are in the `result` of this exception.",
            result,
        )
    return result
