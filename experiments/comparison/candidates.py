"""Measures trained priors over their seeds, and trains and measures them for the programs that compare samples."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from experiments import measures
from experiments.data.dataset import Dataset
from experiments.measures import EvaluationSettings, Measures, SampleScorer
from experiments.measures.likelihood import log_marginals_folder
from experiments.models.trained import Model, Trained
from experiments.options.settings import Settings
from experiments.report.comparison import Rows, Summary, summarize
from experiments.runs.files import MEASURED, file_name, keep
from experiments.runs.programs import drop_if_many
from experiments.training.train import train_all
from vaepriors_jax.training.progress import is_live


class Candidates(NamedTuple):
    """Trained priors and their measures.

    Attributes:
        trained: the priors.
        rows: one row for each prior and seed, as in results.json.
        summary: mean and standard error over seeds for each prior.
        scorer: what scored the samples, if they could be scored.
    """

    trained: list[Trained]
    rows: Rows
    summary: Summary
    scorer: SampleScorer | None


def make_threads() -> ThreadPoolExecutor:
    """Two threads on a CPU, where compilation, on one core, takes most of the time of a small run; one elsewhere."""
    return ThreadPoolExecutor(max_workers=2 if jax.default_backend() == "cpu" else 1)


def rows_of(
    trained: Trained, data: Dataset, settings: EvaluationSettings, parts: Measures, output_dir: Path, bar: tqdm
) -> Rows:
    """One row for each seed of a prior; without measures where training failed."""
    rows = []
    for replica in range(len(trained.seeds)):
        row = trained.row(replica)
        if "failure" not in row:
            row |= kept_measures(trained.model(replica), data, settings, parts, output_dir)
        rows.append(row)
        bar.update()
        drop_if_many()
    return rows


def kept_measures(
    model: Model, data: Dataset, settings: EvaluationSettings, parts: Measures, output_dir: Path
) -> dict[str, Any]:
    """The measures of a model, which are kept in the output folder and not made again."""
    path = output_dir / MEASURED / f"{file_name(model.prior)}-seed{model.seed}.json"
    settings = settings._replace(folder=log_marginals_folder(output_dir, model.prior, model.seed))
    return keep(path, partial(measures.measure, model, data, settings, parts))


def measure_all(
    threads: ThreadPoolExecutor,
    trained: list[Trained],
    data: Dataset,
    settings: EvaluationSettings,
    parts: Measures,
    output_dir: Path,
) -> Rows:
    """One row for each prior and seed.

    Raises:
        ValueError: training failed for every prior and seed.
    """
    number = sum(len(prior.seeds) for prior in trained)
    text = "measuring, then the report"
    with tqdm(total=number, desc=text, unit="model", leave=False, disable=not is_live()) as bar:
        of_prior = partial(rows_of, data=data, settings=settings, parts=parts, output_dir=output_dir, bar=bar)
        rows = [row for rows in threads.map(of_prior, trained) for row in rows]
    if not any(row["test"] for row in rows):
        raise ValueError("No prior could be trained: see the warnings above. Lower --learning-rate.")
    return rows


def train_and_measure(config: Settings, data: Dataset, output_dir: Path) -> Candidates:
    """Trains the priors of a configuration with all its seeds, and measures ELBO, holes and samples.

    Raises:
        ValueError: training failed for every prior and seed.
    """
    trained = train_all(config, data, output_dir)
    scorer = measures.make_sample_scorer(data)
    with make_threads() as threads:
        rows = measure_all(threads, trained, data, config.evaluation(scorer), measures.WITHOUT_LIKELIHOOD, output_dir)
    return Candidates(trained, rows, summarize(rows), scorer)
