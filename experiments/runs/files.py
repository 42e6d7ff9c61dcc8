"""Files of a run: written as a whole or not at all, and steps whose results are kept in one."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vaepriors_jax.training.atomic_write import replace_file

REMOVE = "Remove it, and the step is done again."
TRAINED, MEASURED = "trained", "measured"  # folders of what steps gave


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file as a whole, and the folders that lead to it, or leaves the file that is there as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Writes a text file as a whole."""
    write_bytes(path, text.encode())


def read_json(path: Path) -> Any:
    """Reads a file of the run.

    Raises:
        ValueError: it does not hold JSON.
    """
    try:
        return json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"Expected JSON in {path}; {error}.") from error


def keep(path: Path, make: Callable[[], Any]) -> Any:
    """The result of a step, as JSON gives it back: read from its file, or made and written if there is none."""
    if not path.exists():
        content = make()
        write_text(path, json.dumps({"sha256": _digest(content), "content": content}))
    return read_kept(path)


def read_kept(path: Path) -> Any:
    """Reads what `keep` wrote.

    Raises:
        ValueError: the file is damaged, or cannot be read.
    """
    try:
        file = read_json(path)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"Expected a step of a run in {path}; it cannot be read: {str(error).rstrip('.')}. {REMOVE}"
        ) from error
    if not isinstance(file, dict) or file.get("sha256") != _digest(file.get("content")):
        raise ValueError(f"Expected a step of a run in {path}; the file is damaged. {REMOVE}")
    return file["content"]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def file_name(name: str) -> str:
    """The name of a prior, or of another step, as that of a file."""
    return name.replace(", ", "-").replace(" ", "-").replace(":", ".")
