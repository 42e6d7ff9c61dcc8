"""Results that all programs report: how the run was made, and means with their errors."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.runs.environment import hardware, versions
from experiments.runs.files import write_text
from experiments.runs.folder import read_run

Rows = list[dict[str, Any]]  # one for each prior and seed


def describe_run(folder: Path, dataset: str, config: dict[str, Any]) -> dict[str, Any]:
    """How the run in a folder was made, for results.json."""
    run = read_run(folder)
    config = config | {"output_dir": run["place"]}
    return describe(run["program"], dataset, run["command"], config, run["seconds"])


def describe(program: str, dataset: str, command: str, config: dict[str, Any], seconds: float) -> dict[str, Any]:
    """How results were made: by which command and with which settings, versions and hardware."""
    return {
        "experiment": program,
        "dataset": dataset,
        "command": command,
        "config": config,
        "hardware": hardware(),
        "versions": versions(),
        "seconds": seconds,
    }


def mean_and_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean over seeds and its standard error; None for one seed."""
    array = np.asarray(values, np.float64)
    return float(array.mean()), float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else None


def format_mean(entry: dict[str, Any] | None, digits: int = 2) -> str:
    """Writes {"mean", "standard_error"} as "mean ± error"; a result file has null for what is not finite."""
    if entry is None or entry["mean"] is None:
        return "–"
    error = entry["standard_error"]
    return f"{entry['mean']:z.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


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
    write_text(path, to_json(content))


RESULTS = Path(__file__).parents[1] / "results"
