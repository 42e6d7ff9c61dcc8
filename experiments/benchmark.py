"""How fast is the library, and how much memory does it take, beside its targets and other code? Speeds are ratios.

python -m experiments.benchmark
python -m experiments.benchmark --parts mixture training
python -m experiments.benchmark --parts accelerator
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import jax

from experiments.benchmarks import (
    accelerator,
    evaluation,
    growth,
    mixture,
    priors,
    profile,
    replicas,
    startup,
    streams,
    training,
)
from experiments.benchmarks.common import Part
from experiments.options import command_line
from experiments.report import document, terminal
from experiments.runs.environment import command, hardware, versions
from experiments.runs.folder import output_folder

PartName = Literal[
    "mixture", "training", "priors", "profile", "evaluation", "replicas", "growth", "startup", "streams", "accelerator"
]
MODULES: dict[str, Any] = {
    "mixture": mixture,
    "training": training,
    "priors": priors,
    "profile": profile,
    "evaluation": evaluation,
    "replicas": replicas,
    "growth": growth,
    "startup": startup,
    "streams": streams,
    "accelerator": accelerator,
}


@dataclass(frozen=True)
class Options:
    """Measures the library against its targets and against other code.

    The data are binarized_mnist where TFDS_DATA_DIR is set, else random images of its shape. The comparison with
    PyTorch and pythae needs the extra `benchmark`. Run it on a machine that does nothing else.
    """

    parts: tuple[PartName, ...] | None = None
    """Which parts; by default all, `accelerator` only where jax does not run on a CPU."""
    full: bool = False
    """Measure log p(x) on all 10,000 test images, instead of 500 from which it is extrapolated."""
    small: bool = False
    """Tiny sizes, in seconds: does everything run? The numbers mean nothing."""
    output_dir: str | None = None
    """Where results go; by default a new folder under runs/."""


def settings_of(name: str, options: Options) -> Any:
    """The sizes of one part."""
    module = MODULES[name]
    if options.small:
        return module.SMALL
    if name == "accelerator" and jax.default_backend() == "cpu":
        return accelerator.ON_CPU
    if name == "evaluation" and options.full:
        return evaluation.Settings(num_test=evaluation.NUM_TEST)
    return module.Settings()


def measure(name: str, options: Options, output_dir: Path) -> Part:
    """Runs one part."""
    run: Callable[..., Part] = MODULES[name].run
    settings = settings_of(name, options)
    return run(settings, output_dir) if name == "growth" else run(settings)


def other_versions() -> dict[str, str]:
    """Versions of the packages of the comparison, as far as they are installed."""
    versions = {}
    for name in ("torch", "pythae"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def main(options: Options) -> dict[str, Any]:
    """Runs the parts, prints their tables, writes results.json after each, and returns what it holds."""
    on_cpu = jax.default_backend() == "cpu"
    parts = options.parts or tuple(name for name in MODULES if name != "accelerator" or not on_cpu)
    output_dir = output_folder(options.output_dir, "benchmark", jax.default_backend())
    content: dict[str, Any] = {
        "experiment": "benchmark",
        "command": command("benchmark"),
        "config": asdict(options),
        "hardware": hardware(),
        "versions": versions() | other_versions(),
        "seconds": 0.0,
        "parts": {},
    }
    sections: list[document.Section] = []
    for name in dict.fromkeys(parts):
        began = time.perf_counter()
        part = measure(name, options, output_dir)
        seconds = time.perf_counter() - began
        sections.append(document.Section(name.capitalize(), tables=part.tables))
        terminal.show(sections[-1:])
        print(f"({name}: {seconds:.0f} s)\n", flush=True)
        tables = [table._asdict() for table in part.tables]
        content["parts"][name] = {"tables": tables, "measured": part.measured, "seconds": seconds}
        content["seconds"] += seconds
        document.write(output_dir, content, "Speed and memory against the targets", sections)
        jax.clear_caches()
    print(f"Results in {output_dir}.")
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
