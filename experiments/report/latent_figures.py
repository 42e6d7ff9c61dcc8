"""The figure of `prior_visualization`: encodings and prior in the latent plane, one row a prior, on the same axes."""

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from experiments.report.figures import LEVELS, NATS, known_difference, tile
from vaepriors_jax.evaluation.latents.hole_maps import HoleMap

DEPTH = 12  # nats below the highest point that the colours of a density reach


class Portrait(NamedTuple):
    """The parts of portrait model's row in the figure.

    Attributes:
        name: its prior.
        map: the two log-densities and their difference on the plane.
        points: encodings in the plane [N, 2], one sample of q(z|x) each.
        labels: their classes [N], or None.
        samples: decoded samples of the prior [M, height, width].
        grid: the decoded plane [G * G, height, width], from the top left.
        hole_mass: the hole mass and its standard error.
        divergence: Jensen-Shannon divergence of the encodings from the prior in nats, and its standard error.
        accuracy: accuracy of the classifier that estimates it, and its standard error.
    """

    name: str
    map: HoleMap
    points: np.ndarray
    labels: np.ndarray | None
    samples: np.ndarray
    grid: np.ndarray
    hole_mass: tuple[float, float]
    divergence: tuple[float, float]
    accuracy: tuple[float, float]


def draw(path: Path, portraits: list[Portrait], dataset: str, latent_dim: int) -> None:
    """Draws encodings, both densities, their difference, and decoded samples and plane of each prior."""
    columns = ("encodings", "q(z)", "p(z)", "log q - log p", "samples", "grid")
    figure, axes = plt.subplots(
        len(portraits),
        len(columns),
        figsize=(3.1 * len(columns), 3.3 * len(portraits) + 1),
        layout="constrained",
        squeeze=False,
    )
    for row, portrait in zip(axes, portraits, strict=True):
        density, difference = _draw_row(row, portrait, latent_dim)
    for axis in axes[-1][:4]:
        axis.set_xlabel(f"1st {_coordinate(latent_dim)}", fontsize=9)
    figure.colorbar(density, ax=axes[:, 1:3], location="bottom", shrink=0.5, label="log-density, nats below the top")
    figure.colorbar(
        difference, ax=axes[:, 3], location="bottom", shrink=0.9, extend="both", label="log q(z) - log p(z), nats"
    )
    figure.suptitle(
        f"{dataset}: where the encodings lie and where the prior samples, {latent_dim} latent dimensions.\n"
        "Blue in the fourth column: the prior's holes, where samples are decoded that no image is encoded to.",
        fontsize=12,
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_row(row: np.ndarray, portrait: Portrait, latent_dim: int) -> tuple[QuadMesh, QuadMesh]:
    """Draws one model on a row of axes; returns what the colour bars are of: a density, and the difference."""
    _draw_points(row[0], portrait)
    _draw_density(row[1], portrait, portrait.map.log_q)
    density = _draw_density(row[2], portrait, portrait.map.log_p)
    difference = _draw_difference(row[3], portrait)
    for axis in row[:4]:
        _share_axes(axis, portrait)
    _draw_images(row[4], portrait.samples, "decoded prior samples")
    _draw_images(row[5], portrait.grid, "decoded plane")
    row[0].set_ylabel(f"{portrait.name}\n2nd {_coordinate(latent_dim)}", fontsize=10)
    by_class = "" if portrait.labels is None else " by class"
    (divergence, error), (accuracy, _), (hole_mass, _) = portrait.divergence, portrait.accuracy, portrait.hole_mass
    measures = f"divergence {divergence:z.3f} ± {error:.3f} nats\naccuracy {accuracy:.2f}, hole mass {hole_mass:.3f}"
    titles = (f"{len(portrait.points)} encodings{by_class}", "aggregated posterior q(z)", "prior p(z)", measures)
    for axis, title in zip(row, titles, strict=False):
        axis.set_title(title, fontsize=10)
    return density, difference


def _draw_images(axis: Axes, images: np.ndarray, title: str) -> None:
    """Draws a square grid of images."""
    axis.imshow(tile(images, round(len(images) ** 0.5)), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_title(title, fontsize=10)
    axis.axis("off")


def _coordinate(latent_dim: int) -> str:
    return "coordinate of z" if latent_dim == 2 else "principal component of z"


def _share_axes(axis: Axes, portrait: Portrait) -> None:
    first, second = np.asarray(portrait.map.first), np.asarray(portrait.map.second)
    axis.set_xlim(first[0], first[-1])
    axis.set_ylim(second[0], second[-1])
    axis.set_aspect("equal")
    axis.tick_params(labelsize=8)


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
