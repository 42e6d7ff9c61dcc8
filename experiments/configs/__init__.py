"""Published settings, one a file: `python -m experiments.configs.NAME`; options of compare_priors change them.

Each docstring has the command, the published result and ours, which `python -m experiments.tables` fills in from
`experiments/results/NAME.json`, a copy of the run's `results.json`. A figure marked "unchecked" is quoted from memory.
"""

from pathlib import Path
from typing import Any

from experiments.comparison.compare import compare
from experiments.options import command_line
from experiments.options.config import Config

NAMES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("*_*.py") if path.stem != "__init__"))


def paper(file: str, dataset: str, prior: Any, **options: Any) -> Config:
    """The setting of Tomczak & Welling (2018): one seed, log p(x) only, and a run that goes on where it stopped."""
    options = {"preset": "paper", "seeds": 1, "metrics": "likelihood", "checkpoints": True} | options
    return Config(dataset=dataset, priors=(prior,), output_dir=f"runs/{Path(file).stem}", **options)


def run_as_program(module: str, config: Config) -> None:
    """Compares priors with this configuration if its module was started with `python -m`."""
    if module == "__main__":
        command_line.run(compare, config)
