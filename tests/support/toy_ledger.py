"""A ledger of one small setting on digits; as a program it runs it, so that a test can kill it."""

import sys
from pathlib import Path

from experiments.published.datasets import DATASETS, PublishedData
from experiments.published.queue import Queue, locked, run_all
from experiments.published.recipe import Recipe
from experiments.published.settings import Setting

DATASETS["toy"] = PublishedData("Digits", "digits")
TOY = Setting("toy", "standard")
RECIPE = Recipe(
    "toy",
    1,
    {
        "epochs": 12,
        "warmup_epochs": 2,
        "patience": 20,
        "cooldown_epochs": 2,
        "hidden": (4,),
        "latent_dim": 2,
        "gradients": "normalized",
        "num_samples": 20,
        "annealing": (2, 4, 1),
    },
)


def toy_queue(folder: Path, settings: tuple[Setting, ...] = (TOY,), recipe: Recipe = RECIPE) -> Queue:
    """A queue with everything in one folder."""
    return Queue(settings, recipe, folder, results_dir=folder / "results")


if __name__ == "__main__":
    with locked(Path(sys.argv[1])):
        run_all(toy_queue(Path(sys.argv[1])))
