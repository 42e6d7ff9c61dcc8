"""Arrays that are kept in files, so that a measurement that was stopped goes on where it was."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.runs.files import write_bytes

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
        write_bytes(file, content.getvalue())
    return arrays
