"""How does the cost of an epoch grow with each size? Exponents, and a figure."""

from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot, ticker  # noqa: E402

from experiments.benchmarks import paper  # noqa: E402
from experiments.benchmarks.common import Part, format_seconds
from experiments.models.vaes import Sizes  # noqa: E402
from experiments.report.document import Table  # noqa: E402
from experiments.report.parts import WIDTH  # noqa: E402


class Settings(NamedTuple):
    """Where each size goes, and how many steps are measured."""

    sizes: Sizes = paper.SIZES
    num_steps: int = 20
    num_epochs: int = 3
    num_components: tuple[int, ...] = (10, 100, 1000, 10_000)
    batch_size: tuple[int, ...] = (50, 200, 800)
    latent_dim: tuple[int, ...] = (10, 40, 160)
    flow_layers: tuple[int, ...] = (2, 4, 8, 16)
    num_images: tuple[int, ...] = (5000, 15_000, 50_000)


SMALL = Settings(paper.SMALL_SIZES, 2, 2, (10, 20), (10, 20), (2, 4), (1, 2), (200, 400))

# What grows, its name in the figure, and the priors for which it is measured.
AXES = {
    "num_components": ("components K", ("mixture", "vamp")),
    "batch_size": ("batch", ("standard", "vamp")),
    "latent_dim": ("latent size", ("standard", "vamp")),
    "flow_layers": ("layers of the flow", ("flow",)),
    "num_images": ("images", ("standard",)),
}


def exponent(values: list[int], seconds: list[float]) -> float:
    """Slope of log seconds against log size, by least squares."""
    return float(np.polyfit(np.log(values), np.log(seconds), 1)[0])


def _seconds(axis: str, value: int, prior: str, settings: Settings, data: Any) -> float:
    """Seconds of an epoch with one size set: of 50,000 images, unless their number is what grows."""
    if axis == "num_images":
        epoch = paper.fit(prior, settings.sizes, data, num_images=value, num_epochs=settings.num_epochs)
        return epoch.seconds_per_epoch
    batch_size = value if axis == "batch_size" else 100
    return paper.seconds_per_epoch(
        prior,
        settings.sizes if axis == "batch_size" else settings.sizes._replace(**{axis: value}),
        data,
        num_images=settings.num_steps * batch_size,
        batch_size=batch_size,
        num_epochs=settings.num_epochs,
    )


def draw(curves: dict[str, dict[str, Any]], path: Path) -> None:
    """One panel for each size, both axes logarithmic."""
    figure, panels = pyplot.subplots(-(-len(curves) // 2), 2, figsize=(WIDTH, 8.5), layout="constrained")
    for panel, (axis, of_axis) in zip(panels.flat, curves.items(), strict=False):
        for prior, curve in of_axis.items():
            label = f"{prior}: {curve['exponent']:.2f} (end {curve['last_exponent']:.2f})"
            panel.loglog(curve["values"], curve["seconds"], "o-", label=label)
        panel.set_xticks(curve["values"], [f"{value:,}" for value in curve["values"]])
        panel.minorticks_off()
        panel.set_xlabel(AXES[axis][0])
        panel.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_ylim(panel.get_ylim()[0] / 1.5, panel.get_ylim()[1] * 2.5)
        panel.legend(loc="upper left", frameon=False, fontsize=10)
    for panel in panels.flat[len(curves) :]:
        panel.set_visible(False)
    figure.suptitle(
        "Seconds of an epoch as one size grows, and the exponents\n(other sizes as in Tomczak & Welling 2018)"
    )
    figure.savefig(path, dpi=180)
    pyplot.close(figure)


def run(settings: Settings, output_dir: Path) -> Part:
    """Measures each curve, fits its exponent, and draws growth.png."""
    # The most that an axis needs.
    num_images = max(*settings.num_images, settings.num_steps * max(100, *settings.batch_size))
    data = paper.load_images(num_images, 1)
    curves: dict[str, dict[str, Any]] = {}
    rows = []
    for axis, (label, priors) in AXES.items():
        values = list(getattr(settings, axis))
        curves[axis] = {}
        for prior in priors:
            seconds = [_seconds(axis, value, prior, settings, data) for value in values]
            curve = {"values": values, "seconds": seconds, "exponent": exponent(values, seconds)}
            curves[axis][prior] = curve | {"last_exponent": exponent(values[-2:], seconds[-2:])}
            cells = ", ".join(f"{value:,}: {format_seconds(time)}" for value, time in zip(values, seconds, strict=True))
            exponents = [f"{curves[axis][prior][name]:.2f}" for name in ("exponent", "last_exponent")]
            rows.append([label, prior, cells, *exponents])
    draw(curves, output_dir / "growth.png")
    notes = [
        f"{data.name}; an epoch of 50,000 images (but where their number grows), from {settings.num_steps} steps, "
        f"median of {settings.num_epochs}. Exponent: least squares of log seconds on log size; at the end: between "
        "the two largest, where the cost that does not grow matters least. Drawn in growth.png."
    ]
    header = ["size", "prior", "seconds per epoch", "exponent", "at the end"]
    return Part([Table("growth of the cost of an epoch", header, rows, notes)], curves)
