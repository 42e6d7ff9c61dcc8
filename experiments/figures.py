"""Figures of image models."""

import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np


def tile(images: np.ndarray, num_columns: int) -> np.ndarray:
    """Lays images [N, height, width] out in a grid with thin grey lines between them."""
    count, height, width = images.shape
    num_rows = math.ceil(count / num_columns)
    grid = np.full((num_rows * (height + 1) - 1, num_columns * (width + 1) - 1), 0.5, np.float32)
    for i, image in enumerate(images):
        row, column = divmod(i, num_columns)
        top, left = row * (height + 1), column * (width + 1)
        grid[top : top + height, left : left + width] = image
    return grid


def image_panels(path: Path, panels: Mapping[str, np.ndarray], *, num_columns: int, title: str) -> None:
    """Draws grids of images [N, height, width] side by side, at most three in a row, one colour scale for all."""
    per_row = min(3, len(panels))
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


def interleave(first: np.ndarray, second: np.ndarray, num_columns: int) -> np.ndarray:
    """Puts rows of `second` under rows of `first`, both [N, height, width]."""
    rows: list[np.ndarray] = []
    for start in range(0, len(first), num_columns):
        rows += [first[start : start + num_columns], second[start : start + num_columns]]
    return np.concatenate(rows)
