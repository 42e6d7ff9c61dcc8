"""Runs one setting of the ledger from start to end, or from where it was stopped."""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.data.dataset import Dataset
from experiments.measures import Annealing, EvaluationSettings, Model, holes, likelihood
from experiments.measures.holes import divergence
from experiments.measures.kept import kept_arrays
from experiments.measures.keys import KEYS
from experiments.measures.likelihood import NUM_ANNEALED, evenly, log_marginals, mean_with_error
from experiments.options.resolve import resolve
from experiments.options.settings import Settings
from experiments.published.datasets import DATASETS, load_published
from experiments.published.recipe import Recipe
from experiments.published.records import LEDGER, Record, write_record
from experiments.published.settings import Setting
from experiments.published.stopwatch import Stopwatch, mean_load, seconds_of
from experiments.report import results
from experiments.runs.files import MEASURED, keep
from experiments.training.cost import decoded_at_once
from experiments.training.grid import best_elbo
from experiments.training.train import train
from vaepriors_jax.evaluation.likelihood.annealing import annealed_importance_sampling

ANNEALED_AT_ONCE = 10  # images; their result is kept before the next ones begin


def folder_of(setting: Setting, recipe: Recipe, work_dir: Path) -> Path:
    """Where a setting's checkpoints and finished measures lie; another version of the recipe begins anew."""
    return work_dir / f"{setting.name}-recipe{recipe.version}"


def run(
    setting: Setting, recipe: Recipe, work_dir: Path, data_dir: str | None = None, results_dir: Path = LEDGER
) -> Record:
    """Trains and measures a setting, writes its result file, and returns the result.

    What an earlier call left in the setting's folder (checkpoints, finished measures) is not computed again.

    Raises:
        ValueError: training failed.
    """
    folder = folder_of(setting, recipe, work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    stopwatch = Stopwatch(folder / "times.json")
    with stopwatch.running():
        stopwatch.stage("loading")
        data = load_published(DATASETS[setting.data], data_dir)
        config = resolve(setting.config(recipe), data)
        stopwatch.stage("training")
        model, row = _train(config, data, folder)
        for stage, measure in _measures(model, data, config, folder).items():
            stopwatch.stage(stage)
            row[stage] = keep(folder / MEASURED / f"{stage}.json", measure)
        stopwatch.stage("")
    num_cores = results.hardware()["num_cores"]
    times = stopwatch.times
    command = f"python -m experiments.ledger --only {setting.name}"
    record = results.describe("ledger", config.dataset, command, asdict(config), seconds_of(times)) | {
        "setting": setting._asdict(),
        "recipe": {"name": recipe.name, "version": recipe.version},
        "data": data.description,
        "row": row,
        "seconds_by_stage": times["seconds"],
        "mean_load": round(mean_load(times), 2),
        "busy": mean_load(times) > num_cores + 0.5,
    }
    write_record(setting, record, results_dir)
    return record


def _train(config: Settings, data: Dataset, folder: Path) -> tuple[Model, dict[str, Any]]:
    """The trained model, and its row before anything is measured."""
    trained = train(config.priors[0], config, data, folder)
    row = trained.row(0)
    if "failure" in row:
        raise ValueError(f"Training failed: {row['failure']}.")
    row["epochs"] = len(trained.result.history["validation_elbo"][0])
    row["validation_elbo"] = float(best_elbo(trained.result)[0])
    return trained.model(0), row


def _measures(model: Model, data: Dataset, config: Settings, folder: Path) -> dict[str, Any]:
    """What is measured, by the name of the stage."""
    settings = EvaluationSettings(config.num_samples, likelihood=config.likelihood, folder=folder)
    # With two levels q(z) of the training set runs a network for each pair of a point and an image.
    of_holes = partial(holes, model, data, settings) if config.levels == 1 else partial(divergence, model, data)
    return {
        "test": partial(likelihood, model, data, settings),
        "annealed": partial(annealed, model, data, settings, config.annealing),
        "holes": of_holes,
    }


def annealed(model: Model, data: Dataset, settings: EvaluationSettings, annealing: Annealing) -> dict[str, float]:
    """Annealed importance sampling beside the importance weighting of the same test images, evenly chosen."""
    weighted = log_marginals(model, data, settings.num_samples, settings.folder).values
    rows = evenly(len(weighted), NUM_ANNEALED)
    options: dict[str, Any] = annealing._asdict() | {"chunk_size": decoded_at_once(model.vae, model.params, data)}

    def some(start: int) -> dict[str, np.ndarray]:
        key = jax.random.fold_in(KEYS["annealing"], start)
        x = data.test["x"][rows[start : start + ANNEALED_AT_ONCE]]
        return {"values": np.asarray(annealed_importance_sampling(model.vae, model.params, key, x, **options).values)}

    parts = [
        kept_arrays(settings.folder and settings.folder / f"annealed-{start}.npz", partial(some, start))
        for start in range(0, len(rows), ANNEALED_AT_ONCE)
    ]
    values = np.concatenate([part["values"] for part in parts])
    difference = mean_with_error("annealed_minus_weighted", values - weighted[rows])
    return mean_with_error("log_marginal_annealed", values) | difference | {"num_annealed": len(rows)}
