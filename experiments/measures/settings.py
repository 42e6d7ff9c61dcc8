"""How models are evaluated."""

from pathlib import Path
from typing import NamedTuple

from experiments.measures.sample_scorer import SampleScorer


class Annealing(NamedTuple):
    """How annealed importance sampling runs."""

    num_chains: int
    num_temperatures: int
    num_leapfrog_steps: int


class EvaluationSettings(NamedTuple):
    """What the measures need beside a model and a data set.

    Attributes:
        num_samples: importance samples S for log p(x).
        annealing: how annealed importance sampling checks log p(x); None for no check.
        annealed_seed: the seed whose models are checked.
        likelihood: name of the likelihood p(x|z); probabilities of grey levels are given in bits per dimension too.
        scorer: scores samples; None where the data set cannot have one.
        folder: where the log p(x) of finished slices of the test set are kept; a stopped evaluation goes on from there.
    """

    num_samples: int = 5000
    annealing: Annealing | None = None
    annealed_seed: int = 0
    likelihood: str = "bernoulli"
    scorer: SampleScorer | None = None
    folder: Path | None = None
