"""The table of an example that compares priors on the same test data, and its result file."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.report import markdown
from experiments.report.results import describe, write_json
from experiments.report.summaries import of_example


class ExampleTable:
    """log p(x) of test examples with each prior, and the paired difference to the first prior of the same seed."""

    def __init__(self, compared: str = "prior") -> None:
        """Starts the clock; `compared` says what the rows differ in."""
        self._compared = compared
        self._began = time.perf_counter()
        self._first: dict[int, np.ndarray] = {}
        self.rows: list[dict[str, Any]] = []

    def add(self, prior: str, seed: int, log_marginal: Any, more: Mapping[str, Any]) -> None:
        """Adds a row from log p(x) of each test example [N], and other numbers by their titles."""
        values = np.asarray(log_marginal, np.float64)
        first = self._first.setdefault(seed, values)
        self.rows.append(
            {
                "compared": self._compared,
                "prior": prior,
                "seed": seed,
                "log_marginal": _mean_and_error(values),
                "difference": None if first is values else _mean_and_error(values - first),
                "more": {title: float(number) for title, number in more.items()},
            }
        )

    def text(self) -> str:
        """The table in Markdown, with what its columns mean."""
        table = of_example(self.rows)
        return f"{markdown.table(table.header, table.rows)}\n\n{' '.join(table.notes)}"

    def write(self, path: str, dataset: str, config: dict[str, Any]) -> None:
        """Writes a result file, from which `python -m experiments.tables` fills the pages."""
        options = [name for name in sys.argv[1:] if name not in ("--results", path)]
        command = " ".join([f"python -m experiments.examples.{Path(sys.argv[0]).stem}", *options])
        config = {name: value for name, value in config.items() if name not in ("results", "save")}
        content = describe("example", dataset, command, config, time.perf_counter() - self._began)
        write_json(Path(path), content | {"rows": self.rows})


def _mean_and_error(values: Sequence[float] | np.ndarray) -> list[float]:
    values = np.asarray(values)
    return [float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))]
