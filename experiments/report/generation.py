"""Scores and samples of several priors, drawn side by side."""

from pathlib import Path

import numpy as np

from experiments import measures
from experiments.data.dataset import Dataset
from experiments.models.trained import Model
from experiments.report import figures
from experiments.report.comparison import Rows
from experiments.report.comparison_tables import SAMPLES
from experiments.report.document import Figure


def by_prior(rows: Rows, part: str, name: str) -> dict[str, dict[int, float]]:
    """One score of the generated images, or one value of another part of the rows, by prior and seed."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        values = row["samples"]["generated"] if part == "samples" and "samples" in row else row.get(part)
        if values and name in values:
            found.setdefault(row["prior"], {})[row["seed"]] = values[name]
    return found


def draw_samples(models: list[Model], data: Dataset, output_dir: Path, num: int = 36) -> list[Figure]:
    """Draws grids of samples side by side, all with the same decoder noise, and their means."""
    num = min(num, len(data.test["x"]))
    found = []
    for name, mean, what in (
        ("samples", False, "samples x ~ p(x|z), with the same decoder noise for every prior"),
        ("means", True, "means of p(x|z) for the same z"),
    ):
        panels = {"test images": data.test["x"][:num]}
        panels |= {one.prior: np.asarray(measures.generate(one, data, num, mean=mean)) for one in models}
        path = output_dir / f"{name}.png"
        figures.image_panels(path, panels, num_columns=6, title=f"{data.name}: {what}")
        found.append(path.name)
    return [
        Figure(
            found[0],
            "Samples",
            "z from each prior, pixels drawn from p(x|z): this is what is scored. The noise of the pixels is the same "
            "in every panel, so that panels differ by the prior and the network alone. Test images are binary too.",
        ),
        Figure(
            found[1],
            "Means",
            "The same z, the probability of each pixel. Look for images of no class, or of two classes at once: those "
            "z come from where no image is encoded.",
        ),
    ]


def draw_scores(rows: Rows, output_dir: Path) -> Figure:
    """Draws every score of every seed, beside what to read it against."""
    scored = [row["samples"] for row in rows if "samples" in row]
    levels = {"floor (training images)": scored[0]["floor"]}
    scores = {name: by_prior(rows, "samples", name) for name in SAMPLES}
    rebuilt = {name: float(np.mean([one["reconstructions"][name] for one in scored])) for name in SAMPLES}
    figures.score_panels(output_dir / "scores.png", scores, levels | {"reconstructions (mean)": rebuilt})
    return Figure(
        "scores.png",
        "Scores",
        "One point for each seed; a line joins the same seed, and the bar is the mean. Smaller is better for FID and "
        "KID, larger for the others. Where the lines cross, the order of the priors is that of the seeds.",
    )
