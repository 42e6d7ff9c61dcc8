"""What do other settings of the evaluation say of the models of a run of `compare_priors`? Measures them again.

python -m experiments.evaluate runs/compare_priors-digits-20260101-120000
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

import vaepriors_jax as vp
from experiments import measures
from experiments.data.dataset import Dataset, load
from experiments.models.trained import Model
from experiments.models.vaes import make_prior, make_vae
from experiments.options import command_line
from experiments.options.config import Config
from experiments.options.settings import Settings, fill
from experiments.report import document, results
from experiments.report.comparison import sections_of, summarize
from experiments.report.recommendation import REFIT
from experiments.training.train import model_folder


@dataclass(frozen=True)
class Options:
    """Measures the models of a run of compare_priors again, on the whole test set."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Output folder of compare_priors."""
    num_samples: int | None = None
    """Importance samples S; by default those of the run."""
    priors: tuple[str, ...] = ()
    """Only these priors; by default all of the run."""
    data_dir: str | None = None
    """Folder of prepared TFDS data sets; by default TFDS_DATA_DIR."""


def read_run(run_dir: Path) -> tuple[dict[str, Any], Settings]:
    """The results of a run and its settings.

    Raises:
        ValueError: there is no readable run.
    """
    try:
        content = json.loads((run_dir / "results.json").read_text())
        stored = content["config"].items()
        config: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in stored}
        return content, fill(Config(**config))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected the output folder of compare_priors, with a results.json, in {run_dir}; {error}."
        ) from error


def load_models(run_dir: Path, rows: list[dict[str, Any]], config: Settings, data: Dataset) -> list[Model]:
    """The trained models of some rows: networks from the run's configuration, priors as they were saved.

    A prior of the user's own is made again by its function.
    """
    vaes: dict[str, vp.VAE] = {}  # one for all seeds of a prior, so that each is compiled once
    models = []
    for row in rows:
        name = row["prior"]
        own = make_prior(name.removeprefix(REFIT), config.sizes, data) if ":" in name else None
        prior, params = vp.load_model(run_dir / model_folder(name, row["seed"]), own)
        if name not in vaes:
            vaes[name] = make_vae(name.split(",")[0], config.sizes, data)[0]._replace(prior=prior)
        models.append(Model(name, row["seed"], vaes[name], params))
    return models


def main(options: Options) -> dict[str, Any]:
    """Measures the models, prints the tables, and writes evaluation.json beside the run's results."""
    began = time.perf_counter()
    content, config = read_run(options.run_dir)
    data = load(config.dataset, binarization=config.binarization, data_dir=options.data_dir or config.data_dir)
    rows = [row for row in content["rows"] if row["test"]]
    if options.priors:
        rows = [row for row in rows if row["prior"] in options.priors]
    if not rows:
        raise ValueError(
            f"Expected --priors among those of the run, {sorted({row['prior'] for row in content['rows']})}; "
            f"got {options.priors}."
        )
    scorer = measures.make_sample_scorer(data)
    if scorer is None:
        print(f"The samples of {data.name} are not scored: that takes labels, which train a feature network.")
    if options.num_samples is not None:
        config = replace(config, num_samples=options.num_samples)
    settings = config.evaluation(scorer)
    models = load_models(options.run_dir, rows, config, data)
    measured = [
        row | measures.measure(model, data, settings, measures.ALL) for row, model in zip(rows, models, strict=True)
    ]
    result = results.describe_run("evaluate", config.dataset, asdict(config), began) | {
        "run": str(options.run_dir),
        "trained_by": content["command"],
        "features": measures.describe_features(scorer and scorer.network),
        "rows": measured,
        "summary": summarize(measured),
        "seconds": content["seconds"] + time.perf_counter() - began,
    }
    sections = sections_of(result["summary"])
    document.write(options.run_dir, result, f"{data.name}: priors measured again", sections, "evaluation")
    document.show(sections)
    print(f"Written to {options.run_dir / 'evaluation.json'} ({time.perf_counter() - began:.0f} s).")
    return result


if __name__ == "__main__":
    command_line.run(main, Options)
