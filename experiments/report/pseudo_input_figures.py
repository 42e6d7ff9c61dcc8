"""The figures of `pseudo_inputs`: pseudo-inputs by epoch, beside their neighbours, and their distances."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from experiments.report.figures import image_panels, tile
from experiments.report.parts import WIDTH

NUM_FOLLOWED = 12
WHISKERS = (2.5, 97.5)  # percent


def draw_evolution(path: Path, start: str, snapshots: dict[int, np.ndarray]) -> None:
    """Draws some pseudo-inputs by epoch, one column each."""
    images = np.concatenate([inputs[:NUM_FOLLOWED] for inputs in snapshots.values()])
    grid = tile(images, min(NUM_FOLLOWED, len(next(iter(snapshots.values())))))
    figure, axis = plt.subplots(figsize=(WIDTH, 6.2 * grid.shape[0] / grid.shape[1] + 0.6), layout="constrained")
    axis.imshow(grid, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    height = next(iter(snapshots.values())).shape[1] + 1
    axis.set_yticks([height * (i + 0.5) for i in range(len(snapshots))], [f"{epoch}" for epoch in snapshots])
    axis.set_ylabel("epoch")
    axis.set_xticks([])
    axis.set_title(f"pseudo-inputs from {start} start to the best epoch, one column each", fontsize=12)
    figure.savefig(path, dpi=180)
    plt.close(figure)


def draw_neighbours(path: Path, start: str, inputs: np.ndarray, nearest: np.ndarray, decoded: np.ndarray) -> None:
    """Draws each pseudo-input, the training image nearest to it, and the image that its component decodes to."""
    panels = {"pseudo-inputs": inputs, "nearest training images": nearest, "decoded components": decoded}
    image_panels(
        path, panels, num_columns=5, title=f"{start} start: the same place in each panel is the same component"
    )


def draw_distances(path: Path, by_start: dict[str, tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]) -> None:
    """Draws the distances to the nearest training image as boxes, in pixels and in features."""
    figure, axes = plt.subplots(
        len(by_start),
        2,
        figsize=(WIDTH, 2.2 * len(by_start) + 0.6),
        sharex="col",
        layout="constrained",
        squeeze=False,
    )
    for row, (start, both) in zip(axes, by_start.items(), strict=True):
        for axis, values, unit in zip(row, both, ("pixels", "features"), strict=True):
            box = axis.boxplot(list(values.values()), orientation="horizontal", tick_labels=list(values), whis=WHISKERS)
            plt.setp(box["fliers"], markersize=2)
            axis.invert_yaxis()
            axis.set_title(f"{start} start, {unit}", fontsize=11)
            axis.set_xlim(left=0)
            axis.grid(alpha=0.3, axis="x")
    for axis in axes[-1]:
        axis.set_xlabel("distance to nearest training image", fontsize=11)
    for axis in axes[:, 1]:
        axis.set_yticklabels([])
    figure.savefig(path, dpi=180)
    plt.close(figure)
