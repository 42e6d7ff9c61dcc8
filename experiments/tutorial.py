"""Makes the figures and result files of the tutorial, experiments/README.md, by running its commands.

python -m experiments.tutorial
python -m experiments.tutorial --steps hole cure
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from experiments.options import command_line
from experiments.report.results import RESULTS
from experiments.runs.folder import open_run, output_folder, wait_for
from experiments.runs.signals import run_child

IMAGES = Path(__file__).parent / "images"
MOST_BYTES, WIDTH, COLOURS = 150_000, 1400, 256


class Step(NamedTuple):
    """A command of the tutorial, and which of its figures are kept."""

    command: str
    figures: tuple[str, ...]


STEPS = {
    "picture": Step("prior_holes", ("prior_holes",)),
    "hole": Step("prior_visualization --priors standard", ("latent_plane",)),
    "hole_longer": Step("prior_visualization --priors standard --epochs 200", ()),
    "picture_longer": Step("prior_holes --epochs 200", ()),
    "quality": Step("generation_quality", ("means", "scores")),
    "cure": Step("prior_visualization --priors mixture vamp flow", ("latent_plane",)),
    "pseudo_inputs": Step("pseudo_inputs", ("neighbours_random", "neighbours_data")),
    "choice": Step("choose_prior", ("hole_maps", "scores")),
    "classes": Step("conditional_generation", ("by_class", "shares")),
    "mnist_choice": Step(
        "choose_prior --dataset mnist --preset paper --epochs 6 --warmup-epochs 2 --learning-rate 1e-3 "
        "--num-components 100 --seeds 2 --num-test 2000",
        (),
    ),
    "mnist_classes": Step(
        "conditional_generation --dataset mnist --preset paper --epochs 12 --warmup-epochs 3 --learning-rate 1e-3 "
        "--num-test 2000",
        (),
    ),
}
SHORT = tuple(name for name in STEPS if not name.startswith("mnist"))


@dataclass(frozen=True)
class Options:
    """Runs the commands of the tutorial; `python -m experiments.tables` then fills its tables."""

    steps: tuple[str, ...] = SHORT
    """Which steps; by default those of minutes, which are not on all of MNIST."""
    output_dir: str | None = None
    """Where the steps run; by default a new folder under runs/."""


def shrink(source: Path, target: Path) -> None:
    """Keeps a figure as a PNG of few colours, narrow enough to be small."""
    with Image.open(source) as opened:
        figure = opened.convert("RGB")
    width = min(WIDTH, figure.width)
    while True:
        size = (width, round(figure.height * width / figure.width))
        small = figure.resize(size, Image.Resampling.LANCZOS) if width < figure.width else figure
        palette = small.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        palette.save(target, optimize=True)
        if target.stat().st_size < MOST_BYTES:
            return
        width = int(0.9 * width)


def keep(name: str, folder: Path) -> None:
    """Keeps the figures and the results of a run for one step."""
    IMAGES.mkdir(exist_ok=True)
    for figure in STEPS[name].figures:
        shrink(folder / f"{figure}.png", IMAGES / f"{name}_{figure}.png")
    shutil.copyfile(folder / "results.json", RESULTS / f"tutorial_{name}.json")


def main(options: Options) -> None:
    """Runs the steps as a reader would, each in a folder of its own."""
    unknown = set(options.steps) - set(STEPS)
    if unknown:
        raise ValueError(f"Expected --steps among {', '.join(STEPS)}; got {', '.join(sorted(unknown))}.")
    folder = output_folder(options.output_dir, "tutorial", "all" if options.steps == SHORT else options.steps[0])
    with open_run("tutorial", options, folder):
        for name in options.steps:
            run_step(name, folder / name)


def run_step(name: str, folder: Path) -> None:
    """Runs a step in a folder of its own, or goes on with it, and keeps what it made."""
    print(f"{name}: python -m experiments.{STEPS[name].command}", flush=True)
    program, *arguments = STEPS[name].command.split()
    folder.mkdir(exist_ok=True)
    # Programs put their runs into the working folder: the command needs no option that the tutorial lacks.
    begun = next(folder.glob("runs/*/run.json"), None)
    if begun is not None:
        wait_for(begun.parent)
        arguments = ["--resume", str(begun.parent.relative_to(folder))]
    command = [sys.executable, "-m", f"experiments.{program}", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    run_child(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    keep(name, next(folder.glob("runs/*/results.json")).parent)


if __name__ == "__main__":
    command_line.run(main, Options)
