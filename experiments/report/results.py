"""Results that all programs report: how the run was made, means with their errors, and the output folder."""

import json
import os
import platform
import time
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.options.command_line import command
from experiments.report.printable import printable

PACKAGES = ("vaepriors_jax", "jax", "flax", "optax", "distrax", "numpy")


def hardware() -> dict[str, Any]:
    """The devices and the processor."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "processor": processor,
        "num_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the numbers."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def describe_run(experiment: str, dataset: str, config: dict[str, Any], began: float) -> dict[str, Any]:
    """How a run was made, for results.json; `began` is its `time.perf_counter()`."""
    return {
        "experiment": experiment,
        "dataset": dataset,
        "command": command(experiment),
        "config": config,
        "hardware": hardware(),
        "versions": versions(),
        "seconds": time.perf_counter() - began,
    }


def make_output_dir(output_dir: str | None, program: str, dataset: str) -> Path:
    """Makes the output folder before anything is computed; by default a new one under runs/.

    Raises:
        ValueError: the folder cannot be written.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    path = Path(output_dir or f"runs/{program}-{printable(Path(dataset).stem)[:100]}-{stamp}")
    try:
        path = path.expanduser()
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".write-test"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError, ValueError) as error:  # also ~ where there is no such user, and null characters
        raise ValueError(
            f"Expected an output folder that can be written; {str(path)[:200]} cannot: {error}. Choose another "
            "`--output-dir`."
        ) from error
    return path


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean over seeds and its standard error; None for one seed."""
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else None


def format_mean(entry: dict[str, Any] | None, digits: int = 2) -> str:
    """Writes {"mean", "standard_error"} as "mean ± error"; a result file has null for what is not finite."""
    if entry is None or entry["mean"] is None:
        return "–"
    error = entry["standard_error"]
    return f"{entry['mean']:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def to_json(content: dict[str, Any]) -> str:
    """JSON that any reader takes: a number that is not finite becomes null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return json.dumps(plain(content), indent=1, allow_nan=False) + "\n"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON that any reader takes."""
    path.write_text(to_json(content), encoding="utf-8")


RESULTS = Path(__file__).parents[1] / "results"
