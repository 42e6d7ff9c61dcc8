"""Figures of samples and scores of several priors, side by side."""

from pathlib import Path

import numpy as np

from experiments import measures
from experiments.data.dataset import Dataset
from experiments.models.trained import Model
from experiments.report import figures
from experiments.report.comparison_tables import SAMPLES
from experiments.report.document import Figure
from experiments.report.recommendation import short_name
from experiments.report.results import Rows


def by_prior(rows: Rows, part: str, name: str) -> dict[str, dict[int, float]]:
    """One score of the samples, or one value of another part of the rows, by prior and seed."""
    values_by_prior: dict[str, dict[int, float]] = {}
    for row in rows:
        values = row["samples"]["generated"] if part == "samples" and "samples" in row else row.get(part)
        if values and name in values:
            values_by_prior.setdefault(row["prior"], {})[row["seed"]] = values[name]
    return values_by_prior


def named(by_prior: dict[str, dict[int, float]]) -> dict[str, dict[int, float]]:
    """The same with names for readers."""
    return {short_name(prior): values for prior, values in by_prior.items()}


def draw_samples(models: list[Model], data: Dataset, output_dir: Path, num: int = 36) -> list[Figure]:
    """Draws grids of samples side by side, all with the same decoder noise, and their means."""
    num = min(num, len(data.test["x"]))
    for name, mean, description in (
        ("samples", False, "samples x ~ p(x|z), one decoder noise for all"),
        ("means", True, "means of p(x|z) for the same z"),
    ):
        panels = {"test images": data.test["x"][:num]}
        for model in models:
            panels[short_name(model.prior)] = np.asarray(measures.generate(model, data, num, mean=mean))
        figures.image_panels(output_dir / f"{name}.png", panels, num_columns=6, title=f"{data.name}: {description}")
    is_binary = data.num_levels == 2
    return [
        Figure(
            "samples.png",
            "Samples",
            "z from each prior, pixels drawn from p(x|z): this is what is scored. The noise of the pixels is the same "
            "in every panel, so that panels differ by the prior and the network alone."
            + (" Test images are binary too." if is_binary else ""),
        ),
        Figure(
            "means.png",
            "Means",
            f"The same z, the {'probability' if is_binary else 'mean'} of each pixel. Look for images of no class, or "
            "of two classes at once: those "
            "z come from where no image is encoded.",
        ),
    ]


def draw_scores(rows: Rows, output_dir: Path) -> Figure:
    """Draws every score of every seed, beside those of training images and of reconstructions."""
    scored = [row["samples"] for row in rows if "samples" in row]
    levels = {"floor (training images)": scored[0]["floor"]}
    scores = {name: named(by_prior(rows, "samples", name)) for name in SAMPLES}
    means = {}
    for name in SAMPLES:
        means[name] = float(np.mean([samples["reconstructions"][name] for samples in scored]))
    figures.score_panels(output_dir / "scores.png", scores, levels | {"reconstructions (mean)": means})
    return Figure(
        "scores.png",
        "Scores",
        "One point for each seed; a line joins the same seed, and the bar is the mean. Smaller is better for FID and "
        "KID, larger for the others. Where the lines cross, the order of the priors is that of the seeds.",
    )
