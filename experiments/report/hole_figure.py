"""The README's picture: the holes of two priors in a plane through the latent space, and samples of them below."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from experiments.report.figures import tile
from vaepriors_jax.evaluation.latents.hole_maps import HoleMap

COLUMNS, NUM_SAMPLES = 7, 28
TITLES = ("prior N(0, I)", "same VAE, mixture prior")
EXCESS = np.log(5)  # nats: a hole is where the prior has so much more density than the encodings
HOLE, PRIOR = "#d7301f", ("#dbe7f3", "#bcd3ea", "#94b9dc")


class Plane(NamedTuple):
    """What is drawn of one prior.

    Attributes:
        map: log-densities of the prior and of the encodings in the plane.
        encodings: encodings of held-out images [N, 2].
        labels: their classes [N].
        levels: log p(z) of the contours that hold 99 %, 90 % and 50 % of the prior.
        hole_mass: share of the prior in its holes, and its standard error.
    """

    map: HoleMap
    encodings: np.ndarray
    labels: np.ndarray
    levels: np.ndarray
    hole_mass: tuple[float, float]


def draw(
    path: Path,
    planes: Sequence[Plane],
    samples: Sequence[np.ndarray],
    divergences: Sequence[tuple[float, float]],
) -> None:
    """Draws a column for each prior: its holes in the plane, and its samples [N, height, width]."""
    figure, axes = plt.subplots(
        2, 2, figsize=(8, 7.5), layout="constrained", gridspec_kw={"height_ratios": (1, 4 / COLUMNS)}
    )
    for column, (title, plane, images, divergence) in enumerate(zip(TITLES, planes, samples, divergences, strict=True)):
        top, bottom = axes[:, column]
        _draw_plane(top, plane)
        top.set_title(title, fontsize=17, fontweight="bold")
        top.set_xlabel(f"{100 * plane.hole_mass[0]:.1f} % of its mass in holes here", fontsize=15)
        bottom.imshow(1 - tile(images, COLUMNS), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        bottom.set_xlabel(f"{divergence[0]:z.2f} nats from the encodings", fontsize=15)
        bottom.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("where encodings\nand N(0, I) differ most", fontsize=15)
    axes[1, 0].set_ylabel("samples", fontsize=15)
    figure.legend(handles=_handles(), loc="outside upper center", ncols=3, fontsize=13, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _handles() -> list[Artist]:
    """What the colours say: above the planes, where they hide no point."""
    dots = Line2D([], [], color="0.2", marker="o", markersize=5, linestyle="", label="encodings")
    return [
        Patch(color=HOLE, alpha=0.8, label="hole: too few encodings"),
        Patch(color=PRIOR[1], label="the prior"),
        dots,
    ]


def _draw_plane(axis: Axes, plane: Plane) -> None:
    first, second, log_p, log_q = (
        np.asarray(array) for array in (plane.map.first, plane.map.second, plane.map.log_p, plane.map.log_q)
    )
    axis.contourf(first, second, log_p, levels=[*plane.levels, np.inf], colors=PRIOR)
    outside = np.maximum(log_q - log_p + EXCESS, plane.levels[0] - log_p)  # of the holes where it is above 0
    axis.contourf(first, second, outside, levels=[-np.inf, 0], colors=[HOLE], alpha=0.8)
    axis.scatter(*plane.encodings.T, c=plane.labels, cmap="tab10", s=9, linewidths=0)
    axis.set(xlim=(-4, 4), ylim=(-4, 4), xticks=[], yticks=[], aspect="equal")
