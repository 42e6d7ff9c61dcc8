"""Results that are kept in files, so that a measurement that was stopped goes on where it was."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vaepriors_jax.training.atomic_write import replace_file

Arrays = dict[str, np.ndarray]


def kept_arrays(file: Path | None, compute: Callable[[], Arrays]) -> Arrays:
    """The arrays of an .npz file; they are computed, and written as a whole, if there is none.

    Without a file they are computed.
    """
    if file is not None and file.exists():
        with np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    arrays = compute()
    if file is not None:
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        write(file, content.getvalue())
    return arrays


def kept_json(file: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The content of a JSON file; it is computed, and written as a whole, if there is none."""
    if not file.exists():
        write(file, json.dumps(compute()).encode())
    return json.loads(file.read_text())


def write(file: Path, content: bytes) -> None:
    """Writes a file as a whole, and the folders that lead to it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(file) as stream:
        stream.write(content)
