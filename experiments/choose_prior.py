"""The guide: which prior should I use on my data? Trains the candidates, and recommends one with its reasons.

python -m experiments.choose_prior
python -m experiments.choose_prior --dataset fashion_mnist --preset paper --epochs 10 --seeds 2
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments import command_line, compare_priors, comparison_figures, document, figures, generation, metrics, report
from experiments.comparison import failures_of
from experiments.comparison_tables import hole_notes, of_today
from experiments.config import resolve
from experiments.data import Dataset, load
from experiments.document import Figure, Section, Table
from experiments.options import SeedsOptions
from experiments.recommendation import STANDARD, Measurements, Recommendation, called, recommend

MEASURES = {  # part of the rows, title and digits of each column
    "fid": ("samples", "FID", 2),
    "fid_reconstructions": ("samples", "FID (rec.)", 2),
    "divergence": ("holes", "divergence", 3),
    "accuracy": ("holes", "accuracy", 2),
    "hole_mass": ("holes", "hole mass", 3),
    "reconstruction": ("test", "reconstruction", 2),
    "elbo": ("test", "ELBO", 2),
}
HOLES = ("divergence", "accuracy", "hole_mass")
KINDS = {  # density, and KL from a Gaussian posterior
    "standard_normal": ("exact", "closed form"),
    "mixture": ("exact", "Monte Carlo estimate"),
    "vamp": ("exact", "Monte Carlo estimate"),
    "transformed": ("exact, by change of variables", "Monte Carlo estimate"),
}


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


def measurements_of(rows: generation.Rows) -> Measurements:
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


def _cell(values: list[float] | None, digits: int) -> str:
    if values is None:
        return "–"
    mean, error = report.mean_and_error(values)
    return report.format_mean({"mean": mean, "standard_error": error}, digits)


def facts(measured: Measurements, num_seeds: int) -> Table:
    """What was measured of each candidate."""
    names = [name for name in MEASURES if name in HOLES or any(name in values for values in measured.values())]
    cells = [
        [prior, *(_cell(of_today(values).get(name), MEASURES[name][2]) for name in names)]
        for prior, values in measured.items()
    ]
    notes = [
        f"Mean over {num_seeds} seeds ± standard error. {hole_notes(measured.values())} Reconstruction and ELBO of the "
        "test images in nats, larger is better."
    ]
    if "fid" in names:
        notes.append(
            "FID of samples against test images, by features of a classifier of this data set, and of reconstructions "
            "(rec.), which bound what a prior can gain."
        )
    return Table("Candidates", ["prior", *(MEASURES[name][1] for name in names)], cells, notes)


def guide(content: dict[str, Any]) -> Table:
    """How each prior's KL is computed, how expressive it is, and what it costs, as measured."""
    measured = content["measured"]
    base = {row["prior"]: row for row in content["rows"]}[STANDARD]
    cells = []
    for prior, kind in content["kinds"].items():
        row = next(row for row in content["rows"] if row["prior"] == prior)
        cells.append(
            [
                prior,
                *KINDS[kind],
                *(_cell(of_today(measured[prior]).get(name), MEASURES[name][2]) for name in HOLES),
                f"{row['num_parameters'] - base['num_parameters']:,}",
                f"{row['seconds_per_epoch'] / base['seconds_per_epoch']:.1f}x"
                + (" and the fit" if "refit" in prior else ""),
            ]
        )
    header = ["prior", "density", "KL in the ELBO", *(MEASURES[name][1] for name in HOLES), "parameters", "an epoch"]
    notes = [
        f"Measured on {Path(content['dataset']).stem}, {content['config']['latent_dim']} latent dimensions, "
        f"{content['config']['num_components']} components: expressiveness is what a prior leaves of the divergence "
        "from the encodings (nats; 0 where p = q) and of the hole (0.01). Parameters of the prior; time of an "
        f"epoch against N(0, I), {base['seconds_per_epoch']:.2g} s for {base['replicas_at_once']} replicas at once. A "
        "flow prior's density is exact, by the change of variables; its KL is a Monte Carlo estimate, as that of the "
        "mixtures is: only a Gaussian prior has it in closed form.",
    ]
    return Table("KL computation, expressiveness and cost", header, cells, notes)


def tables(content: dict[str, Any]) -> list[Table]:
    """The tables of the guide, from results.json."""
    return [facts(content["measured"], len(content["measured"][STANDARD]["elbo"])), guide(content)]


def advice(found: Recommendation) -> list[Section]:
    """The recommendation as a part of the report."""
    return [
        Section(f"Recommended: {called(found.prior)}", found.reasons),
        Section("How sure is that?", found.certainty),
    ]


def draw(found: generation.Candidates, data: Dataset, output_dir: Path) -> list[Figure]:
    """Draws the scores of all candidates, their holes, and what they generate."""
    scores = {name: generation.by_prior(found.rows, part, name) for name, (part, _, _) in MEASURES.items()}
    scores = {name: values for name, values in scores.items() if values}
    floor = {}
    if found.judge is not None:
        floor = {"floor: training images": {"fid": found.judge.references["floor"]["fid"]}}
        floor["reconstructions (mean)"] = {
            "fid": float(np.mean([row["samples"]["reconstructions"]["fid"] for row in found.rows if "samples" in row]))
        }
    figures.score_panels(output_dir / "scores.png", scores, floor)
    models = [one.model(0) for one in found.trained]
    maps = {one.prior: metrics.hole_map(one, data) for one in models}
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
        *generation.draw_samples(models, data, output_dir),
    ]


def main(options: Options) -> dict[str, Any]:
    """Trains, measures, recommends, and writes the output folder."""
    began = time.perf_counter()
    if STANDARD not in options.priors:
        raise ValueError(f"Expected `standard` among --priors, to hold the others against; got {options.priors}.")
    data = load(options.dataset, data_dir=options.data_dir)
    config = resolve(options.comparison(), data)
    data = compare_priors.take_test(data, config.num_test)
    output_dir = report.make_output_dir(options.output_dir, "choose_prior", options.dataset)
    found = generation.train_and_measure(config, data, output_dir)
    for row in found.rows:
        if row["prior"] == STANDARD and row["test"]:
            model = next(one for one in found.trained if one.name == STANDARD).model(row["seed"] - options.seed)
            row["holes"] |= metrics.shape(model, data)
    measured = measurements_of(found.rows)
    if STANDARD not in measured:
        raise ValueError("The VAE with N(0, I) could not be trained: see the warnings above. Lower --learning-rate.")
    recommended = recommend(measured)
    content = report.describe_run("choose_prior", options.dataset, asdict(config), began) | {
        "data": data.account,
        "features": metrics.describe(found.judge),
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
