"""Replicas that are frozen, because something was not finite."""

from typing import NamedTuple

import numpy as np

from vaepriors_jax.parallel.sharding import to_host
from vaepriors_jax.training.epoch import FitState
from vaepriors_jax.training.step import TERMS


class Failure(NamedTuple):
    """A replica that was frozen, because its loss or its gradient was not finite.

    Attributes:
        replica: its number, from 0.
        step: the step at which it was frozen.
        term: what was not finite: "reconstruction", "kl" or "gradient".
        cause: what made it so, such as a scale that is not positive; "" where that is not known.
    """

    replica: int
    step: int
    term: str
    cause: str = ""

    def __str__(self) -> str:
        cause = f"; {self.cause}" if self.cause else ""
        return f"replica {self.replica} was frozen at step {self.step}: {self.term} is not finite{cause}"


def failures_of(state: FitState) -> list[Failure]:
    """The replicas that are frozen."""
    steps, terms = to_host(state.train.failed_step), to_host(state.train.failed_term)
    return [Failure(r, int(steps[r]), TERMS[int(terms[r])]) for r in np.flatnonzero(steps >= 0).tolist()]
