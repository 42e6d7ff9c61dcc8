"""The tutorial with two small steps, which keeps their figures and results in the working folder."""

from pathlib import Path

from experiments import tutorial
from experiments.options import command_line

SMALL = "--dataset digits --priors standard --epochs 2 --num-points 50"
if __name__ == "__main__":
    tutorial.IMAGES = tutorial.RESULTS = Path("kept").absolute()
    tutorial.STEPS = {
        "first": tutorial.Step(f"prior_visualization {SMALL}", ("latent_plane",)),
        "second": tutorial.Step(f"prior_visualization {SMALL} --seed 1", ("latent_plane",)),
    }
    command_line.run(tutorial.main, tutorial.Options)
