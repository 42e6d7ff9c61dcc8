"""The figure of `prior_visualization`: encodings and prior in the latent plane, two rows a prior.

Three panels in a row, and large letters: it can be read on a phone.
"""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import SubFigure
from matplotlib.ticker import MaxNLocator

from experiments.report.figures import LEVELS, NATS, known_difference, tile
from experiments.report.parts import WIDTH
from vaepriors_jax.evaluation.latents.hole_maps import HoleMap

DEPTH = 12  # nats below the highest point that the colours of a density reach
HOW_TO_READ = "Blue: holes, where samples come from\nand no image is encoded. Green: contours of the prior."


class Portrait(NamedTuple):
    """What is drawn of one model.

    Attributes:
        name: its prior, as the reader calls it.
        map: the two log-densities and their difference on the plane.
        points: encodings in the plane [N, 2], one sample of q(z|x) each.
        labels: their classes [N], or None.
        samples: decoded samples of the prior [M, height, width].
        grid: the decoded plane [G * G, height, width], from the top left.
        hole_mass: the hole mass and its standard error.
        divergence: Jensen-Shannon divergence of the encodings from the prior in nats, and its standard error.
    """

    name: str
    map: HoleMap
    points: np.ndarray
    labels: np.ndarray | None
    samples: np.ndarray
    grid: np.ndarray
    hole_mass: tuple[float, float]
    divergence: tuple[float, float]


def draw(path: Path, portraits: list[Portrait], dataset: str, latent_dim: int) -> None:
    """Draws encodings, both densities, their difference, and decoded samples and plane of each prior."""
    figure = plt.figure(figsize=(WIDTH, 4.9 * len(portraits) + 1.4), layout="constrained")
    parts = figure.subfigures(len(portraits) + 1, 1, height_ratios=[*[4.9] * len(portraits), 0.8], squeeze=False)[:, 0]
    for part, portrait in zip(parts[:-1], portraits, strict=True):
        density, difference = _draw_portrait(part, portrait, latent_dim)
    left, right = parts[-1].subplots(1, 2)
    parts[-1].colorbar(density, cax=left, orientation="horizontal", label="log-density, nats below the top")
    parts[-1].colorbar(
        difference, cax=right, orientation="horizontal", extend="both", label="log q(z) - log p(z), nats"
    )
    for axis in (left, right):
        axis.set_box_aspect(0.06)
    figure.suptitle(f"{dataset}, {latent_dim} latents. {HOW_TO_READ}", fontsize=12)
    figure.savefig(path, dpi=180)
    plt.close(figure)


def _draw_portrait(part: SubFigure, portrait: Portrait, latent_dim: int) -> tuple[QuadMesh, QuadMesh]:
    """Draws one model; returns what the colour bars are of: a density, and the difference."""
    axes = part.subplots(2, 3)
    points, log_q, log_p, difference, samples, plane = axes.flat
    _draw_points(points, portrait)
    _draw_density(log_q, portrait, portrait.map.log_q)
    of_density = _draw_density(log_p, portrait, portrait.map.log_p)
    of_difference = _draw_difference(difference, portrait)
    for axis in (points, log_q, log_p, difference):
        _share_axes(axis, portrait)
        axis.tick_params(labelbottom=axis is difference, labelleft=axis in (points, difference), labelsize=9)
    _draw_images(samples, portrait.samples)
    _draw_images(plane, portrait.grid)
    titles = ("encodings", "q(z), of encodings", "prior p(z)", "log q(z) - log p(z)", "samples", "plane, decoded")
    for axis, title in zip(axes.flat, titles, strict=True):
        axis.set_title(title, fontsize=11)
    points.set_ylabel(f"2nd {_coordinate(latent_dim)}", fontsize=10)
    difference.set_xlabel(f"1st {_coordinate(latent_dim)}", fontsize=10)
    (divergence, error), (hole_mass, _) = portrait.divergence, portrait.hole_mass
    measures = f"divergence {divergence:z.3f} ± {error:.3f} nats, hole mass {hole_mass:.3f}"
    part.suptitle(f"{portrait.name}: {measures}", fontsize=12, fontweight="bold")
    return of_density, of_difference


def _draw_images(axis: Axes, images: np.ndarray) -> None:
    """Draws a square grid of images."""
    axis.imshow(tile(images, round(len(images) ** 0.5)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.axis("off")


def _coordinate(latent_dim: int) -> str:
    return "coordinate" if latent_dim == 2 else "principal component"


def _share_axes(axis: Axes, portrait: Portrait) -> None:
    first, second = np.asarray(portrait.map.first), np.asarray(portrait.map.second)
    axis.set_xlim(first[0], first[-1])
    axis.set_ylim(second[0], second[-1])
    axis.set_aspect("equal")
    for line in (axis.xaxis, axis.yaxis):
        line.set_major_locator(MaxNLocator(5, integer=True))


def _draw_points(axis: Axes, portrait: Portrait) -> None:
    if portrait.labels is None:
        axis.scatter(*portrait.points.T, s=3, color="black", alpha=0.5)
        return
    colours = plt.get_cmap("tab10")
    for label in np.unique(portrait.labels):
        chosen = portrait.points[portrait.labels == label]
        axis.scatter(*chosen.T, s=3, color=colours(int(label) % 10), alpha=0.6, label=str(label))
    axis.legend(
        fontsize=6, markerscale=3, ncols=2, loc="upper right", handletextpad=0, columnspacing=0.2, borderpad=0.2
    )


def _draw_density(axis: Axes, portrait: Portrait, log_density: object) -> QuadMesh:
    values = np.asarray(log_density)
    depth = values - values.max()
    first, second = np.asarray(portrait.map.first), np.asarray(portrait.map.second)
    image = axis.pcolormesh(first, second, depth, cmap="magma", vmin=-DEPTH, vmax=0)
    axis.contour(first, second, depth, levels=LEVELS, colors="white", linewidths=0.7, linestyles="-")
    return image


def _draw_difference(axis: Axes, portrait: Portrait) -> QuadMesh:
    first, second = np.asarray(portrait.map.first), np.asarray(portrait.map.second)
    image = axis.pcolormesh(first, second, known_difference(portrait.map), cmap="RdBu_r", norm=NATS)
    axis.set_facecolor("0.85")
    log_p = np.asarray(portrait.map.log_p)
    axis.contour(first, second, log_p - log_p.max(), levels=LEVELS, colors="tab:green", linewidths=0.8, linestyles="-")
    return image
