"""Figures of image models."""

import math
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from experiments.report.parts import WIDTH

plt.rcParams["text.parse_math"] = False  # a dollar sign in the name of a data set is one


def headline(title: str, per_row: int = 1) -> str:
    """The title of a figure, or of one of several panels in a row, in lines that fit."""
    return textwrap.fill(title, 78 // per_row if per_row > 1 else 66)


def tile(images: np.ndarray, num_columns: int) -> np.ndarray:
    """Lays images [N, height, width] or [N, height, width, 3] out in a grid with thin grey lines between them."""
    (count, height, width), channels = images.shape[:3], images.shape[3:]
    num_rows = math.ceil(count / num_columns)
    grid = np.full((num_rows * (height + 1) - 1, num_columns * (width + 1) - 1, *channels), 0.5, np.float32)
    for i, image in enumerate(images):
        row, column = divmod(i, num_columns)
        top, left = row * (height + 1), column * (width + 1)
        grid[top : top + height, left : left + width] = np.clip(image, 0, 1)
    return grid


def image_panels(path: Path, panels: Mapping[str, np.ndarray], *, num_columns: int, title: str) -> None:
    """Draws grids of images, see `tile`, side by side, at most three in a row, one colour scale for all."""
    per_row = 2 if len(panels) == 4 else min(3, len(panels))
    num_rows = math.ceil(len(panels) / per_row)
    grids = {name: tile(np.asarray(images), num_columns) for name, images in panels.items()}
    aspect = max(grid.shape[0] / grid.shape[1] for grid in grids.values())
    side = WIDTH / per_row
    figure, axes = plt.subplots(
        num_rows, per_row, figsize=(WIDTH, (side * aspect + 0.3) * num_rows + 0.5), layout="constrained"
    )
    flat = np.atleast_1d(axes).ravel()
    for axis in flat:
        axis.axis("off")
    for axis, (name, grid) in zip(flat, grids.items(), strict=False):
        axis.imshow(grid, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(headline(name, max(per_row, 2)), fontsize=11)
    figure.suptitle(headline(title), fontsize=12)
    figure.savefig(path, dpi=200)
    plt.close(figure)


def training_curves(path: Path, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], *, title: str) -> None:
    """Draws training and validation ELBO [seeds, epochs] of each prior; one line a seed."""
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.8), sharey=True, layout="constrained")
    colours = plt.get_cmap("tab10")
    for i, (name, pair) in enumerate(curves.items()):
        for axis, runs in zip(axes, pair, strict=True):
            for seed, run in enumerate(runs):
                epochs = np.arange(1, len(run) + 1)
                axis.plot(epochs, run, color=colours(i), lw=1, alpha=0.8, label=name if seed == 0 else None)
    # The first epochs would hide the rest.
    settled = np.concatenate([run[len(run) // 10 :] for pair in curves.values() for runs in pair for run in runs])
    settled = settled[np.isfinite(settled)]
    if settled.size:
        low, high = np.percentile(settled, 2), settled.max()
        axes[0].set_ylim(low - 0.02 * (high - low), high + 0.05 * (high - low))
    axes[0].set_title("training (beta = 1)", fontsize=11)
    axes[1].set_title("validation (beta = 1)", fontsize=11)
    axes[0].set_ylabel("ELBO (nats per image)")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=10)
    figure.suptitle(headline(title), fontsize=12)
    figure.savefig(path, dpi=180)
    plt.close(figure)


# Contours, in nats below the highest point of the plane: of a Gaussian, those of 1, 2 and 3 standard deviations.
# Outside the last lies 1 % of it, and 20,000 samples no longer show a density.
LEVELS = (-4.5, -2, -0.5)
NATS = Normalize(-6, 6)  # the colour scale of all maps


def interleave(first: np.ndarray, second: np.ndarray, num_columns: int) -> np.ndarray:
    """Puts rows of `second` under rows of `first`, both [N, ...]."""
    rows: list[np.ndarray] = []
    for start in range(0, len(first), num_columns):
        rows += [first[start : start + num_columns], second[start : start + num_columns]]
    return np.concatenate(rows)


def known_difference(hole_map: Any) -> np.ndarray:
    """log q(z) - log p(z) of a hole map, blank outside the outer contours of both, where hardly any mass is.

    A density by samples counts as no lower than its outer contour, where a few samples lie under each kernel.
    """
    is_low, floored = True, []
    for log_density, is_exact in ((hole_map.log_q, hole_map.q_is_exact), (hole_map.log_p, hole_map.p_is_exact)):
        values = np.asarray(log_density)
        lowest = values.max() + min(LEVELS)
        is_low &= values < lowest
        floored.append(values if is_exact else np.maximum(values, lowest))
    return np.where(is_low, np.nan, floored[0] - floored[1])


def hole_maps(path: Path, maps: Mapping[str, Any], *, title: str) -> None:
    """Draws log q(z) - log p(z) of each prior on its plane, one colour scale for all, with contours of both.

    Blue is where the prior puts mass and the encodings do not: the holes.
    """
    per_row = min(2, len(maps))
    num_rows = math.ceil(len(maps) / per_row)
    figure, axes = plt.subplots(
        num_rows, per_row, figsize=(WIDTH, 3.6 * num_rows + 1.2), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(maps) :]:
        axis.axis("off")
    for axis, (name, hole_map) in zip(axes.flat, maps.items(), strict=False):
        first, second = np.asarray(hole_map.first), np.asarray(hole_map.second)
        image = axis.pcolormesh(first, second, known_difference(hole_map), cmap="RdBu_r", norm=NATS)
        axis.set_facecolor("0.85")
        for log_density, colour in ((hole_map.log_q, "black"), (hole_map.log_p, "tab:green")):
            depth = np.asarray(log_density) - np.max(log_density)
            axis.contour(first, second, depth, levels=LEVELS, colors=colour, linewidths=1, linestyles="-")
        axis.set_title(headline(f"{name} ({100 * float(hole_map.explained):.0f} % of variance)", 2), fontsize=11)
        _make_square(axis)
        axis.set_aspect("equal")
        axis.tick_params(labelsize=9)
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.7, aspect=35, extend="both")
    bar.set_label("log q(z) - log p(z), nats", fontsize=11)
    figure.suptitle(f"{headline(title)}\ncontours: q(z) black, p(z) green; blue: holes", fontsize=12)
    figure.savefig(path, dpi=180)
    plt.close(figure)


def _make_square(axis: Axes) -> None:
    """Widens the narrower side of a map, so that all maps are squares."""
    half_width = max(np.ptp(axis.get_xlim()), np.ptp(axis.get_ylim())) / 2
    for line, (low, high), set_limits in (
        (axis.xaxis, axis.get_xlim(), axis.set_xlim),
        (axis.yaxis, axis.get_ylim(), axis.set_ylim),
    ):
        set_limits((low + high) / 2 - half_width, (low + high) / 2 + half_width)
        line.set_major_locator(MaxNLocator(5, integer=True))


TITLES = {
    "fid": "FID",
    "kid": "KID",
    "elbo": "ELBO, nats",
    "reconstruction": "reconstruction, nats",
    "hole_mass": "hole mass",
    "divergence": "divergence, nats",
    "accuracy": "accuracy of the classifier",
}


def score_panels(
    path: Path, scores: Mapping[str, Mapping[str, Mapping[int, float]]], levels: Mapping[str, Mapping[str, float]]
) -> None:
    """Draws each score of each prior, one point a seed, with levels to read it against as lines."""
    names = list(dict.fromkeys(name for by_prior in scores.values() for name in by_prior))
    num_rows = math.ceil(len(scores) / 2)
    figure, axes = plt.subplots(
        num_rows, 2, figsize=(WIDTH, num_rows * (0.33 * len(names) + 0.8) + 0.5), layout="constrained", squeeze=False
    )
    styles = ("--", ":")
    for axis, (score, by_prior) in zip(axes.flat, scores.items(), strict=False):
        _draw_scores(axis, names, by_prior)
        for style, (label, values) in zip(styles, levels.items(), strict=False):
            if score in values:
                axis.axvline(values[score], color="black", lw=1, ls=style, label=label)
        axis.set_title(TITLES.get(score, score), fontsize=11)
    for axis in axes[:, 1]:
        axis.set_yticklabels([])
    for axis in axes.flat[len(scores) :]:
        axis.axis("off")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=10)
    figure.savefig(path, dpi=180)
    plt.close(figure)


def _draw_scores(axis: Axes, names: list[str], by_prior: Mapping[str, Mapping[int, float]]) -> None:
    """Draws one score: a row for each prior, and a line for each seed."""
    places = [names.index(name) for name in by_prior]
    if _same_seeds(by_prior):
        axis.plot(
            np.array([list(seeds.values()) for seeds in by_prior.values()]), places, color="0.7", lw=0.8, zorder=1
        )
    for place, values in zip(places, by_prior.values(), strict=True):
        points, colour = list(values.values()), plt.get_cmap("tab10")(place % 10)
        axis.scatter(points, [place] * len(points), s=20, color=colour, zorder=2)
        axis.vlines(np.mean(points), place - 0.3, place + 0.3, color=colour, lw=2, zorder=2)
    axis.set_yticks(range(len(names)), [textwrap.fill(name, 20) for name in names], fontsize=10)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.tick_params(axis="x", labelsize=10)
    axis.grid(alpha=0.3, axis="x")


def _same_seeds(by_prior: Mapping[str, Mapping[int, float]]) -> bool:
    return len({tuple(seeds) for seeds in by_prior.values()}) == 1


def share_lines(path: Path, shares: Mapping[str, np.ndarray], real: np.ndarray) -> None:
    """Draws shares [seeds, classes] by class, and those of real images [classes]."""
    figure, axis = plt.subplots(figsize=(WIDTH, 4.2), layout="constrained")
    classes = np.arange(len(real))
    for i, (name, values) in enumerate(shares.items()):
        place = classes + 0.16 * (i - (len(shares) - 1) / 2)
        colour = plt.get_cmap("tab10")(i)
        axis.scatter(np.tile(place, len(values)), values.ravel(), s=16, color=colour, label=f"prior {name}")
        axis.hlines(values.mean(axis=0), place - 0.08, place + 0.08, color=colour, lw=2)
    axis.plot(classes, real, color="black", marker="_", ms=12, ls="", label="test images")
    axis.set_xticks(classes)
    axis.set_xlabel("class asked for", fontsize=11)
    axis.set_ylabel("share put into that class", fontsize=11)
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize=11)  # within, it would lie on points
    figure.savefig(path, dpi=180)
    plt.close(figure)
