"""The callback of `fit`: what it gets after each epoch, and how it stops the run."""

import inspect
from typing import Any, NamedTuple, Protocol

import numpy as np

from vaepriors_jax.parallel.distributed import gather, together
from vaepriors_jax.training.state import TrainState
from vaepriors_jax.vae import VAEParams


class Epoch(NamedTuple):
    """An epoch of `fit` that has just ended, as the callback gets it.

    The next epoch reuses the memory of `params` and `state`: keep copies, such as `jax.tree.map(np.array, params)`.

    Attributes:
        epoch: its number, from 1.
        metrics: "elbo", "reconstruction", "kl" of training and "validation_elbo", in nats: scalars, or [R] with
            replicas.
        params: the present parameters, or their average where the optimiser is one of `average_params`.
        state: the train state, whose `params` are those that the next step starts from.
    """

    epoch: int
    metrics: dict[str, np.ndarray]
    params: VAEParams
    state: TrainState


class Callback(Protocol):
    """What `fit` calls after each epoch, such as a writer of metrics."""

    def __call__(self, epoch: Epoch, /) -> Any:
        """Returns True to stop the run, otherwise None or False."""


def check_callback(callback: Callback | None) -> None:
    """Raises TypeError unless it can be called with an `Epoch` alone."""
    if callback is None:
        return
    if not callable(callback):
        raise TypeError(f"Expected `callback` as a function of a `vp.Epoch`; got {callback!r}.")
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):  # a function that is not written in Python may have none
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise TypeError(
            f"Expected `callback` as a function of one argument, a `vp.Epoch`; got one that takes {signature}. Write "
            "`def callback(epoch): ...`, and read `epoch.epoch`, `epoch.metrics`, `epoch.params` and `epoch.state`."
        ) from error


def wants_to_stop(callback: Callback | None, epoch: Epoch, *, several: bool) -> bool:
    """Calls the callback; the run stops if it returns True. Of several processes, one is enough."""

    def call() -> bool:
        answer = None if callback is None else callback(epoch)
        if answer is None:
            return False
        if np.shape(answer) or np.asarray(answer).dtype != bool:
            raise TypeError(f"Expected `callback` to return True to stop, or None or False to go on; got {answer!r}.")
        return bool(answer)

    return bool(gather(int(together(call))).any()) if several else call()
