"""Figures of image models."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize

plt.rcParams["text.parse_math"] = False  # a dollar sign in the name of a data set is one


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
    figure, axes = plt.subplots(
        num_rows, per_row, figsize=(3.4 * per_row, (3.4 * aspect + 0.3) * num_rows + 0.5), layout="constrained"
    )
    flat = np.atleast_1d(axes).ravel()
    for axis in flat:
        axis.axis("off")
    for axis, (name, grid) in zip(flat, grids.items(), strict=False):
        axis.imshow(grid, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(name, fontsize=10)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def training_curves(path: Path, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], *, title: str) -> None:
    """Draws training and validation ELBO [seeds, epochs] of each prior; one line a seed."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
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
    axes[0].set_title("training (beta = 1)", fontsize=10)
    axes[1].set_title("validation (beta = 1)", fontsize=10)
    axes[0].set_ylabel("ELBO (nats per image)")
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=9)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=150)
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
    per_row = min(3, len(maps))
    num_rows = math.ceil(len(maps) / per_row)
    figure, axes = plt.subplots(
        num_rows, per_row, figsize=(3.6 * per_row + 0.8, 3.5 * num_rows + 0.6), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(maps) :]:
        axis.axis("off")
    for axis, (name, hole_map) in zip(axes.flat, maps.items(), strict=False):
        first, second = np.asarray(hole_map.first), np.asarray(hole_map.second)
        image = axis.pcolormesh(first, second, known_difference(hole_map), cmap="RdBu_r", norm=NATS)
        axis.set_facecolor("0.85")
        for log_density, colour in ((hole_map.log_q, "black"), (hole_map.log_p, "tab:green")):
            depth = np.asarray(log_density) - np.max(log_density)
            axis.contour(first, second, depth, levels=LEVELS, colors=colour, linewidths=0.8, linestyles="-")
        axis.set_title(f"{name} ({100 * float(hole_map.explained):.0f} % of the variance)", fontsize=10)
        axis.set_aspect("equal")
        axis.set_xlabel("1st axis of the plane", fontsize=9)
        axis.tick_params(labelsize=8)
    for axis in axes[:, 0]:
        axis.set_ylabel("2nd axis of the plane", fontsize=9)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, extend="both")
    bar.set_label("log q(z) - log p(z), nats", fontsize=9)
    figure.suptitle(
        f"{title}\ncontours 0.5, 2 and 4.5 nats below the top: q(z) black, p(z) green; blue: holes", fontsize=11
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)


TITLES = {
    "fid": "FID",
    "kid": "KID",
    "elbo": "ELBO, nats",
    "reconstruction": "reconstruction, nats",
    "hole_mass": "hole mass",
    "divergence": "divergence from the encodings, nats",
    "accuracy": "accuracy of the classifier of z",
}


def score_panels(
    path: Path, scores: Mapping[str, Mapping[str, Mapping[int, float]]], levels: Mapping[str, Mapping[str, float]]
) -> None:
    """Draws each score of each prior, one point a seed, with levels to read it against as lines."""
    figure, axes = plt.subplots(2, math.ceil(len(scores) / 2), figsize=(10, 6), layout="constrained", squeeze=False)
    colours, styles = plt.get_cmap("tab10"), ("--", ":")
    for axis, (score, by_prior) in zip(axes.flat, scores.items(), strict=False):
        table = np.array([list(seeds.values()) for seeds in by_prior.values()]) if _same_seeds(by_prior) else None
        if table is not None:
            axis.plot(np.arange(len(table)), table, color="0.7", lw=0.8, zorder=1)
        for i, values in enumerate(by_prior.values()):
            points = list(values.values())
            axis.scatter([i] * len(points), points, s=18, color=colours(i % 10), zorder=2)
            axis.hlines(np.mean(points), i - 0.25, i + 0.25, color=colours(i % 10), lw=2, zorder=2)
        for style, (label, values) in zip(styles, levels.items(), strict=False):
            if score in values:
                axis.axhline(values[score], color="black", lw=0.9, ls=style, label=label)
        axis.set_title(TITLES.get(score, score), fontsize=10)
        axis.set_xticks(range(len(by_prior)), [name.replace(", ", ",\n") for name in by_prior], fontsize=8)
        axis.set_xlim(-0.5, len(by_prior) - 0.5)
        axis.tick_params(axis="y", labelsize=8)
        axis.grid(alpha=0.3, axis="y")
    for axis in axes.flat[len(scores) :]:
        axis.axis("off")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _same_seeds(by_prior: Mapping[str, Mapping[int, float]]) -> bool:
    return len({tuple(seeds) for seeds in by_prior.values()}) == 1


def share_lines(path: Path, shares: Mapping[str, np.ndarray], real: np.ndarray) -> None:
    """Draws shares [seeds, classes] by class, and those of real images [classes]."""
    figure, axis = plt.subplots(figsize=(7, 3.8), layout="constrained")
    classes = np.arange(len(real))
    for i, (name, values) in enumerate(shares.items()):
        place = classes + 0.16 * (i - (len(shares) - 1) / 2)
        colour = plt.get_cmap("tab10")(i)
        axis.scatter(np.tile(place, len(values)), values.ravel(), s=16, color=colour, label=f"prior {name}")
        axis.hlines(values.mean(axis=0), place - 0.08, place + 0.08, color=colour, lw=2)
    axis.plot(classes, real, color="black", marker="_", ms=12, ls="", label="test images")
    axis.set_xticks(classes)
    axis.set_xlabel("class asked for")
    axis.set_ylabel("share put into that class")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)  # within, it would lie on points
    figure.savefig(path, dpi=130)
    plt.close(figure)
