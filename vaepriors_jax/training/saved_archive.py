"""An .npz archive of numbered arrays and a description in JSON, which ends with the SHA-256 of all that is before."""

import hashlib
import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from vaepriors_jax.training.atomic_write import replace_file
from vaepriors_jax.training.saved_tree import is_number

DESCRIPTION = "model.json"
DIGEST = 64  # hexadecimal digits


def write_archive(path: Path, description: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Writes an archive, or leaves the one that is there as it is."""
    text = json.dumps(description, allow_nan=False)
    with replace_file(path) as file:
        # Members of one date, so that equal models are equal files.
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(zipfile.ZipInfo(DESCRIPTION), text)
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asarray(array, order="C"), allow_pickle=False)
            archive.comment = b"0" * DIGEST
        file.seek(-DIGEST, os.SEEK_END)
        file.truncate()
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.write(digest.encode())


def read_archive(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Reads a description and the arrays that it names.

    Nothing is read that is larger than the file, and nothing is unpickled.

    Raises:
        Exception: of many kinds, for a file that is damaged or was not written by `write_archive`.
    """
    content = path.read_bytes()
    if hashlib.sha256(memoryview(content)[:-DIGEST]).hexdigest().encode() != content[-DIGEST:]:
        raise ValueError(f"{path} is damaged, since its content does not have the SHA-256 that it ends with")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError(f"{path} is compressed, which no saved model is")
        description = json.loads(archive.read(DESCRIPTION), parse_constant=_refuse_constant)
        leaves = enumerate(description["params"]["leaves"])
        arrays = {str(i): _read_array(archive, str(i), leaf) for i, leaf in leaves if "array" in leaf}
    return description, arrays


def _refuse_constant(name: str) -> None:
    raise ValueError(f"its {DESCRIPTION} holds {name}, which is not JSON")


def _read_array(archive: zipfile.ZipFile, name: str, described: dict[str, Any]) -> np.ndarray:
    """Reads an array by the description: the header of an .npy file has no name for bfloat16."""
    dtype, shape = jnp.dtype(described["array"]), described["shape"]
    if not is_number(dtype) or any(size < 0 for size in shape):
        raise ValueError(f"its array {name} is described as {dtype}{shape}")
    member = memoryview(archive.read(f"{name}.npy"))
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes > len(member):
        raise ValueError(f"its array {name} holds less than {dtype}{shape}")
    return np.frombuffer(member[len(member) - num_bytes :], dtype).reshape(shape)
