"""Which prior should I use on my data? Trains the candidates, and recommends one, with reasons.

python -m experiments.choose_prior
python -m experiments.choose_prior --dataset fashion_mnist --preset paper --epochs 10 --seeds 2
python -m experiments.choose_prior --results experiments/results/mnist_5k_all.json
"""

from dataclasses import asdict, dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from experiments import measures
from experiments.comparison.candidates import Candidates, train_and_measure
from experiments.data.dataset import Dataset, load, take_test
from experiments.models.families import ALL
from experiments.models.trained import is_euclidean
from experiments.options import command_line
from experiments.options.programs import SeedsOptions
from experiments.options.resolve import resolve
from experiments.options.settings import Settings
from experiments.report import comparison_figures, document, figures, results
from experiments.report.choice import MEASURES, advice, kind_of, scores_table, tables
from experiments.report.comparison import Rows, failures_of
from experiments.report.document import Figure, Section
from experiments.report.generation import by_prior, draw_samples, named
from experiments.report.recommendation import STANDARD, Measurements, recommend, short_name
from experiments.report.summaries import of_choice
from experiments.runs.files import MEASURED, keep, read_json
from experiments.runs.folder import open_run, output_folder


@dataclass(frozen=True)
class Options(SeedsOptions):
    """Trains the candidates with the same budget, measures them, and recommends a prior."""

    dataset: str = "mnist_5k"
    """mnist_5k, digits, a TFDS name, or the path of your own .npz file, as in compare_priors. Without labels samples
    cannot be scored, and the choice rests on the ELBO."""
    priors: tuple[str, ...] = ("standard", "mixture", "vamp", "flow")
    """The candidates, the simplest first, also your own as module:function; `standard` must be among them. All that
    read no label by all."""
    refit: tuple[str, ...] = ("mixture",)
    """Priors that are fitted afterwards to the standard VAE, as more candidates."""
    num_components: int | None = None
    """Components of the mixture, and pseudo-inputs of the VampPrior; those of the preset by default."""
    epochs: int | None = None
    """The budget of each candidate: the most epochs; those of the preset by default."""
    num_test: int | None = None
    """Use only this many test images; all of them by default."""
    results: str | None = None
    """The results.json of compare_priors: recommends one of its priors that read no label, and trains nothing."""


def measurements_of(rows: Rows) -> Measurements:
    """Measurements for the recommendation: {prior: {name: [one value for each seed]}}, for seeds of all priors."""
    trained = [row for row in rows if row["test"]]
    priors = list(dict.fromkeys(row["prior"] for row in trained))
    seeds = set.intersection(*({row["seed"] for row in trained if row["prior"] == prior} for prior in priors))
    measured: Measurements = {prior: {} for prior in priors}
    for row in sorted(trained, key=itemgetter("seed")):
        if row["seed"] not in seeds:
            continue
        values = {"seconds_per_epoch": row["seconds_per_epoch"], **row["test"], **row.get("holes", {})}
        if "samples" in row:
            values["fid"] = row["samples"]["generated"]["fid"]
            values["fid_reconstructions"] = row["samples"]["reconstructions"]["fid"]
            values["fid_floor"] = row["samples"]["floor"]["fid"]
        for name, value in values.items():
            if value is None:  # a number that was not finite
                continue
            measured[row["prior"]].setdefault(name, []).append(value)
    # The VAE with N(0, I) and its refits first.
    return {prior: measured[prior] for prior in sorted(priors, key=lambda prior: prior.split(",")[0] != STANDARD)}


def draw(candidates: Candidates, data: Dataset, output_dir: Path) -> list[Figure]:
    """Draws the scores of all candidates, their holes and their samples."""
    scores = {name: named(by_prior(candidates.rows, part, name)) for name, (part, _, _) in MEASURES.items()}
    scores = {name: values for name, values in scores.items() if values}
    levels = {}
    if candidates.scorer is not None:
        scored = [row["samples"] for row in candidates.rows if "samples" in row]
        reconstructions = float(np.mean([score["reconstructions"]["fid"] for score in scored]))
        levels["floor: training images"] = {"fid": candidates.scorer.references["floor"]["fid"].estimate.mean}
        levels["reconstructions (mean)"] = {"fid": reconstructions}
    figures.score_panels(output_dir / "scores.png", scores, levels)
    models = [trained.model(0) for trained in candidates.trained]
    mapped = [model for model in models if is_euclidean(model)]  # N(0, I) among them
    left_out = [short_name(model.prior) for model in models if not is_euclidean(model)]
    maps = {short_name(model.prior): measures.hole_map(model, data, plane="difference") for model in mapped}
    title = f"{data.name}: prior holes, where q(z) and p(z) differ most"
    figures.hole_maps(output_dir / "hole_maps.png", maps, title=title)
    return [
        Figure(
            "scores.png",
            "What was measured",
            "One point for each seed, a line joins the same seed, the bar is the mean. Smaller is better for FID, "
            "divergence, accuracy and hole mass, larger for ELBO and reconstruction.",
        ),
        Figure(
            "hole_maps.png",
            "Prior holes",
            "Each prior on the plane of the two directions in which it differs most from the encodings, chosen with "
            "one half of them and drawn from the other. Blue inside the prior's green contours is a hole: the prior "
            "samples there, and no image is encoded there. A prior that fits is white. "
            + comparison_figures.MARGINALS
            + comparison_figures.not_in_r_n(left_out),
        ),
        *draw_samples(models, data, output_dir),
    ]


def main(options: Options) -> dict[str, Any]:
    """Trains, measures, recommends, and writes the output folder."""
    if options.results is not None:
        return _choose_from(options)
    if STANDARD not in options.priors and options.priors != (ALL,):
        raise ValueError(f"Expected `standard` among --priors, to compare the others with; got {options.priors}.")
    data = load(options.dataset, **options.reading())
    config = resolve(options.comparison(), data, conditional=False)
    data = take_test(data, config.num_test)
    folder = output_folder(options.output_dir, "choose_prior", options.dataset)
    with open_run("choose_prior", options, folder):
        return _choose(config, data, folder)


def _choose_from(options: Options) -> dict[str, Any]:
    """Recommends a prior from stored results of `compare_priors`."""
    path = Path(str(options.results))
    stored = read_json(path) if path.is_file() else None
    if not isinstance(stored, dict) or stored.get("experiment") != "compare_priors":
        raise ValueError(f"Expected the results.json of compare_priors as --results; {path} is no such file.")
    rows = [row for row in stored["rows"] if "log_marginal_given_label" not in row["test"]]
    measured = measurements_of(rows)
    if STANDARD not in measured:
        raise ValueError(f"Expected the prior `standard` among those of --results, to compare with; {path} has none.")
    folder = output_folder(options.output_dir, "choose_prior", stored["dataset"])
    with open_run("choose_prior", options, folder):
        recommended = recommend(measured, timed=not stored.get("busy"))
        content = results.describe_run(folder, stored["dataset"], stored["config"]) | {
            "data": stored["data"],
            "features": stored["features"],
            "trained_by": stored["command"],
            "rows": rows,
            "measured": measured,
            "recommendation": recommended._asdict(),
            "busy": stored.get("busy", False),
        }
        num_seeds = len(measured[STANDARD]["elbo"])
        sections = [
            *advice(recommended),
            Section(
                "What it rests on", failures_of(rows), [of_choice(content)], [], [scores_table(measured, num_seeds)]
            ),
        ]
        document.publish(folder, content, f"{stored['dataset']}: which prior?", sections)
    return content


def _choose(config: Settings, data: Dataset, output_dir: Path) -> dict[str, Any]:
    candidates = train_and_measure(config, data, output_dir)
    standard = next(trained for trained in candidates.trained if trained.name == STANDARD)
    for row in candidates.rows:
        if row["prior"] == STANDARD and row["test"]:
            model = standard.model(row["seed"] - config.seed)
            path = output_dir / MEASURED / f"{STANDARD}-seed{model.seed}-gaussian.json"
            row["holes"] |= keep(path, partial(measures.gaussian_divergence, model, data))
    measured = measurements_of(candidates.rows)
    if STANDARD not in measured:
        raise ValueError("The VAE with N(0, I) could not be trained: see the warnings above. Lower --learning-rate.")
    recommended = recommend(measured)
    content = results.describe_run(output_dir, config.dataset, asdict(config)) | {
        "data": data.description,
        "features": measures.describe_features(candidates.scorer and candidates.scorer.network),
        "kinds": {
            trained.name: kind_of(trained.model(0), data) for trained in candidates.trained if trained.name in measured
        },
        "rows": candidates.rows,
        "measured": measured,
        "recommendation": recommended._asdict(),
    }
    results.write_json(output_dir / "results.json", content)
    advised, short = advice(recommended), of_choice(content)
    sections = [
        *advised,
        Section("Pictures", figures=draw(candidates, data, output_dir)),
        Section("What it rests on", failures_of(candidates.rows), [short], details=tables(content)),
    ]
    shown = [Section("", tables=[short]), *advised]  # in a terminal the last lines are read first
    document.publish(output_dir, content, f"{data.name}: which prior?", sections, shown)
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
