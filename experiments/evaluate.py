"""What do other settings of the evaluation say of the models of a run of `compare_priors`? Measures them again.

python -m experiments.evaluate runs/compare_priors-digits-20260101-120000
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

import vaepriors_jax as vp
from experiments import measures
from experiments.comparison.candidates import kept_measures
from experiments.data.dataset import Dataset, load
from experiments.models.likelihoods import check_likelihood
from experiments.models.posteriors import centre
from experiments.models.trained import Model
from experiments.models.vaes import make_prior, make_vae
from experiments.options import command_line
from experiments.options.config import Config
from experiments.options.settings import Settings, fill
from experiments.options.stored import has_type, read_options
from experiments.report import document, results, terminal
from experiments.report.answer import answer
from experiments.report.comparison import sections_of, summarize
from experiments.report.recommendation import REFIT
from experiments.runs.folder import open_run, output_folder
from experiments.training.kept import model_folder

SUBFOLDER = "evaluate"  # of the run that is measured again


@dataclass(frozen=True)
class Options:
    """Measures the models of a run of compare_priors again, on the whole test set."""

    run_dir: Annotated[str, tyro.conf.Positional]
    """Output folder of compare_priors."""
    num_samples: int | None = None
    """Importance samples S; by default those of the run."""
    priors: tuple[str, ...] = ()
    """Only these priors; by default all of the run."""
    data_dir: str | None = None
    """Folder of prepared TFDS data sets; by default TFDS_DATA_DIR."""


ROW_TYPES: dict[str, Any] = {
    "prior": str,
    "seed": int,
    "num_parameters": int,
    "seconds_per_epoch": float | None,
    "replicas_at_once": int,
    "test": dict | None,
}


def read_run(run_dir: Path) -> tuple[dict[str, Any], Settings]:
    """The results of a run and its settings.

    Raises:
        ValueError: there is no readable run.
    """
    try:
        content = json.loads((run_dir / "results.json").read_text())
        types = {"config": dict, "rows": list, "command": str, "seconds": float}
        _check_entries("the file", content, types)
        if content.get("experiment") != "compare_priors":
            raise ValueError(f"it is of the program {content.get('experiment')!r}")
        for i, row in enumerate(content["rows"]):
            _check_entries(f"row {i}", row, ROW_TYPES)
        return content, fill(read_options(Config, content["config"]))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(
            f"Expected the output folder of compare_priors, with a results.json, in {run_dir}; {error}."
        ) from error


def _check_entries(place: str, content: Any, types: dict[str, Any]) -> None:
    """Raises ValueError unless a part of a result file has these entries, of these types."""
    if not isinstance(content, dict):
        raise ValueError(f"{place} holds no entries by name")
    for name, kind in types.items():
        if name not in content or not has_type(content[name], kind):
            raise ValueError(f"{place} has no entry {name!r} of the right type")


def load_models(run_dir: Path, rows: list[dict[str, Any]], config: Settings, data: Dataset) -> list[Model]:
    """The trained models of some rows: networks from the run's configuration, priors as they were saved.

    A prior of the user's own is made again by its function.

    Raises:
        ValueError: there is no model of a row, or its networks are others than those of the configuration.
    """
    vaes: dict[str, vp.VAE] = {}  # one for all seeds of a prior, so that each is compiled once
    models = []
    for row in rows:
        name, folder = row["prior"], run_dir / model_folder(row["prior"], row["seed"])
        own = make_prior(name.removeprefix(REFIT), config.sizes, data) if ":" in name else None
        prior, params = vp.load_model(folder, own)
        if name not in vaes:
            vaes[name] = make_vae(name.split(",")[0], config.sizes, data)[0]._replace(prior=prior)
        models.append(Model(name, row["seed"], vaes[name], params))
        _check_networks(models[-1], folder, data)
    return models


def _check_networks(model: Model, folder: Path, data: Dataset) -> None:
    """Raises ValueError unless the networks of the configuration take the parameters that were loaded."""

    def trace(x: jax.Array, context: dict[str, jax.Array]) -> jax.Array:
        z = centre(model.vae.posterior(model.params, x, **context))
        model.vae.latent_prior(model.params, **context).log_prob(z)
        return model.vae.likelihood(model.params, z, **context).mean()

    context = {name: array[0] for name, array in model.context(data.test).items()}
    try:
        shape = jax.eval_shape(trace, data.test["x"][0], context).shape
    except Exception as error:
        raise ValueError(
            f"Expected a model in {folder} as the configuration in results.json describes it; its networks do not take "
            f"the parameters: {error}"
        ) from error
    if shape != data.image_shape:
        raise ValueError(f"Expected a model of images {data.image_shape} in {folder}; it decodes to {shape}.")


def choose_rows(rows: list[dict[str, Any]], priors: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of these priors, or of all, that were trained.

    Raises:
        ValueError: there are none, or one is of a function that was not named, so that a file would choose what runs.
    """
    chosen = [row for row in rows if row["test"] and (not priors or row["prior"] in priors)]
    if not chosen:
        raise ValueError(
            f"Expected --priors among those of the run, {sorted({row['prior'] for row in rows})}; got {priors}."
        )
    if not priors and (own := sorted({row["prior"] for row in chosen if ":" in row["prior"]})):
        raise ValueError(
            f"Expected --priors where a run has priors of your own, since their functions are called; got none. This "
            f"run has {', '.join(map(repr, own))}."
        )
    return chosen


def main(options: Options) -> dict[str, Any]:
    """Measures the models, prints the tables, and writes evaluation.json beside the run's results."""
    run_dir = Path(options.run_dir)
    content, config = read_run(run_dir)
    data = load(
        config.dataset,
        binarization=config.binarization,
        data_dir=options.data_dir or config.data_dir,
        grey=config.grey,
    )
    check_likelihood(config.likelihood, data)
    rows = choose_rows(content["rows"], options.priors)
    if options.num_samples is not None:
        config = replace(config, num_samples=options.num_samples)
    folder = output_folder(str(run_dir / SUBFOLDER), "evaluate", config.dataset)
    with open_run("evaluate", options, folder, anew=True):
        return _measure(content | {"rows": rows}, config, data, run_dir, folder)


def _measure(content: dict[str, Any], config: Settings, data: Dataset, run_dir: Path, folder: Path) -> dict[str, Any]:
    scorer = measures.make_sample_scorer(data)
    if scorer is None:
        print(f"The samples of {data.name} are not scored: that takes labels, which train a feature network.")
    settings = config.evaluation(scorer)
    models = load_models(run_dir, content["rows"], config, data)
    measured = [
        {name: value for name, value in row.items() if name not in measures.ALL}
        | {"likelihood": config.likelihood}
        | kept_measures(model, data, settings, measures.ALL, folder)
        for row, model in zip(content["rows"], models, strict=True)
    ]
    result = results.describe_run(folder, config.dataset, asdict(config))
    seconds = result["seconds"]
    result |= {
        "run": result["config"]["output_dir"],
        "trained_by": content["command"],
        "features": measures.describe_features(scorer and scorer.network),
        "rows": measured,
        "summary": summarize(measured),
        "seconds": content["seconds"] + seconds,
    }
    answered = answer(measured, folder)
    sections, shown = sections_of(measured, result["summary"], answered)
    document.write(
        run_dir, result | {"answer": answered.words}, f"{data.name}: priors measured again", sections, "evaluation"
    )
    terminal.show(sections if terminal.VERBOSE.get() else shown)
    print(f"Report: {run_dir / 'evaluation.html'} ({seconds:.0f} s)")
    return result


if __name__ == "__main__":
    command_line.run(main, Options, subfolder=SUBFOLDER)
