"""Priors trained and measured over seeds, for the programs that compare them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments import measures
from experiments.data.dataset import Dataset
from experiments.measures import Judge
from experiments.models.trained import Trained
from experiments.options.config import Config
from experiments.report.comparison import summarize
from experiments.training.train import train_all

Rows = list[dict[str, Any]]


class Candidates(NamedTuple):
    """Trained models and what was measured of them: one row for each prior and seed."""

    trained: list[Trained]
    rows: Rows
    summary: list[dict[str, Any]]
    judge: Judge | None


def train_and_measure(config: Config, data: Dataset, output_dir: Path) -> Candidates:
    """Trains the priors of a configuration with all its seeds, and measures ELBO, holes and samples.

    Raises:
        ValueError: no prior could be trained.
    """
    trained = train_all(config, data, output_dir)
    judge = measures.make_judge(data)
    # Most of the time of a small run is compilation, on one core: two things at a time.
    with ThreadPoolExecutor(max_workers=2 if jax.default_backend() == "cpu" else 1) as threads:
        measured = threads.map(lambda one: measure(one, data, judge), trained)
        rows = [row for found in measured for row in found]
    if not any(row["test"] for row in rows):
        raise ValueError("No prior could be trained: see the warnings above. Lower --learning-rate.")
    return Candidates(trained, rows, summarize(rows), judge)


def measure(trained: Trained, data: Dataset, judge: Judge | None) -> Rows:
    """One row for each seed."""
    rows = [trained.row(replica) for replica in range(len(trained.seeds))]
    for replica, row in enumerate(rows):
        if "failure" in row:
            continue
        model = trained.model(replica)
        row |= {"test": measures.elbo(model, data), "holes": measures.holes(model, data)}
        if judge is not None:
            row["samples"] = measures.samples(model, data, judge)
    return rows
