"""The result files of the ledger: one small JSON file a setting, and what makes one stale."""

import json
from pathlib import Path
from typing import Any

from experiments.published.recipe import Recipe
from experiments.published.settings import Setting
from experiments.report.results import RESULTS, to_json
from experiments.runs.files import write_text

LEDGER = RESULTS / "ledger"

Record = dict[str, Any]


def read_record(setting: Setting, folder: Path = LEDGER) -> Record | None:
    """The result of a setting; None where there is none."""
    file = folder / f"{setting.name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def write_record(setting: Setting, record: Record, folder: Path = LEDGER) -> None:
    """Writes the result of a setting, as a whole."""
    write_text(folder / f"{setting.name}.json", to_json(record))


def is_stale(record: Record, recipe: Recipe) -> bool:
    """Whether a result was made by another recipe, or another version of it."""
    return record["recipe"] != {"name": recipe.name, "version": recipe.version}
