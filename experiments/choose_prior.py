"""The guide: which prior should I use on my data? Trains the candidates, and recommends one with its reasons.

python -m experiments.choose_prior
python -m experiments.choose_prior --dataset fashion_mnist --preset paper --epochs 10 --seeds 2
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import measures
from experiments.data.dataset import Dataset, load, take_test
from experiments.options import command_line
from experiments.options.config import resolve
from experiments.options.programs import SeedsOptions
from experiments.report import comparison_figures, document, figures, results
from experiments.report.choice import MEASURES, advice, tables
from experiments.report.comparison import failures_of
from experiments.report.document import Figure, Section
from experiments.report.generation import by_prior, draw_samples
from experiments.report.recommendation import STANDARD, Measurements, recommend
from experiments.training.candidates import Candidates, Rows, train_and_measure


@dataclass(frozen=True)
class Options(SeedsOptions):
    """Trains the candidates with the same budget, measures them, and recommends a prior."""

    dataset: str = "digits"
    """Digits, a TFDS name, or the path of your own .npz file, as in compare_priors. Without labels samples cannot be
    scored, and the choice rests on the ELBO."""
    priors: tuple[Literal["standard", "mixture", "vamp", "flow"], ...] = ("standard", "mixture", "vamp", "flow")
    """The candidates, the simplest first; `standard` has to be among them."""
    refit: tuple[Literal["mixture", "vamp", "flow"], ...] = ("mixture",)
    """Priors that are fitted afterwards to the standard VAE: candidates too."""
    num_components: int | None = None
    """Components of the mixture, and pseudo-inputs of the VampPrior; those of the preset by default."""
    epochs: int | None = None
    """The budget of each candidate: the most epochs; those of the preset by default."""
    num_test: int | None = None
    """Use only this many test images; all of them by default."""


def measurements_of(rows: Rows) -> Measurements:
    """What the recommendation reads: {prior: {name: [one value for each seed]}}; only seeds that all priors have."""
    whole = [row for row in rows if row["test"]]
    priors = list(dict.fromkeys(row["prior"] for row in whole))
    seeds = set.intersection(*({row["seed"] for row in whole if row["prior"] == prior} for prior in priors))
    found: Measurements = {prior: {} for prior in priors}
    for row in sorted((row for row in whole if row["seed"] in seeds), key=lambda row: row["seed"]):
        values = {"seconds_per_epoch": row["seconds_per_epoch"], **row["test"], **row["holes"]}
        if "samples" in row:
            values["fid"] = row["samples"]["generated"]["fid"]
            values["fid_reconstructions"] = row["samples"]["reconstructions"]["fid"]
            values["fid_floor"] = row["samples"]["floor"]["fid"]
        for name, value in values.items():
            found[row["prior"]].setdefault(name, []).append(value)
    return {prior: found[prior] for prior in sorted(priors, key=lambda prior: prior.split(",")[0] != STANDARD)}


def draw(found: Candidates, data: Dataset, output_dir: Path) -> list[Figure]:
    """Draws the scores of all candidates, their holes, and what they generate."""
    scores = {name: by_prior(found.rows, part, name) for name, (part, _, _) in MEASURES.items()}
    scores = {name: values for name, values in scores.items() if values}
    floor = {}
    if found.judge is not None:
        floor = {"floor: training images": {"fid": found.judge.references["floor"]["fid"]}}
        floor["reconstructions (mean)"] = {
            "fid": float(np.mean([row["samples"]["reconstructions"]["fid"] for row in found.rows if "samples" in row]))
        }
    figures.score_panels(output_dir / "scores.png", scores, floor)
    models = [one.model(0) for one in found.trained]
    maps = {one.prior: measures.hole_map(one, data) for one in models}
    title = f"{data.name}: prior holes, marginals on the plane of the encodings' first two principal components"
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
            "Blue inside the prior's green contours is a hole: the prior samples there, and no image is encoded there. "
            + comparison_figures.MARGINALS,
        ),
        *draw_samples(models, data, output_dir),
    ]


def main(options: Options) -> dict[str, Any]:
    """Trains, measures, recommends, and writes the output folder."""
    began = time.perf_counter()
    if STANDARD not in options.priors:
        raise ValueError(f"Expected `standard` among --priors, to hold the others against; got {options.priors}.")
    data = load(options.dataset, data_dir=options.data_dir)
    config = resolve(options.comparison(), data)
    data = take_test(data, config.num_test)
    output_dir = results.make_output_dir(options.output_dir, "choose_prior", options.dataset)
    found = train_and_measure(config, data, output_dir)
    for row in found.rows:
        if row["prior"] == STANDARD and row["test"]:
            model = next(one for one in found.trained if one.name == STANDARD).model(row["seed"] - options.seed)
            row["holes"] |= measures.shape(model, data)
    measured = measurements_of(found.rows)
    if STANDARD not in measured:
        raise ValueError("The VAE with N(0, I) could not be trained: see the warnings above. Lower --learning-rate.")
    recommended = recommend(measured)
    content = results.describe_run("choose_prior", options.dataset, asdict(config), began) | {
        "data": data.account,
        "features": measures.describe(found.judge),
        "kinds": {one.name: one.vae.prior.config["factory"] for one in found.trained if one.name in measured},
        "rows": found.rows,
        "measured": measured,
        "recommendation": recommended._asdict(),
    }
    sections = [
        *advice(recommended),
        Section("What it rests on", failures_of(found.rows), tables(content)),
        Section("Figures", figures=draw(found, data, output_dir)),
    ]
    content["seconds"] = time.perf_counter() - began
    document.publish(output_dir, content, f"{data.name}: which prior?", sections)
    document.show([sections[2], *sections[:2]])
    print(f"Report, figures, models and results in {output_dir} ({content['seconds']:.0f} s).")
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
