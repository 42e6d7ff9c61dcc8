"""Files of images: right ones, wrong arrays, headers that lie, and damaged files."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.dataset import BINARIZATIONS, load
from tests.fuzz.case import Case
from tests.fuzz.odd import choose, damaged

SHAPE = (120, 8, 8)


def images(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, SHAPE, np.uint8)


def labels(rng: np.random.Generator) -> np.ndarray:
    return np.arange(SHAPE[0]) % int(rng.integers(2, 9))


GOOD = {
    "bytes": lambda x: x,
    "binary": lambda x: (x > 127).astype(np.uint8),
    "floats": lambda x: x / 255,
    "half": lambda x: (x / 255).astype(np.float16),
    "channel": lambda x: x[..., None],
    "colours": lambda x: np.stack([x] * 3, -1),
    "columns": lambda x: np.asfortranarray(x),
}
BAD = {
    "few": lambda x: x[:99],
    "none": lambda x: x[:0],
    "flat": lambda x: x.reshape(len(x), -1),
    "number": lambda x: np.uint8(3),
    "small": lambda x: x[:, :7],
    "two channels": lambda x: np.stack([x] * 2, -1),
    "five axes": lambda x: x[..., None, None],
    "integers": lambda x: x.astype(np.int64),
    "booleans": lambda x: x > 127,
    "text": lambda x: x.astype(str),
    "objects": lambda x: x.astype(object),
    "complex": lambda x: x.astype(complex) / 255,
    "dates": lambda x: x.astype("datetime64[s]"),
    "big-endian": lambda x: (x / 255).astype(">f4"),
    "fields": lambda x: x.view([("value", np.uint8)]),
    "dark": lambda x: x % 17,
    "beyond one": lambda x: x / 100,
    "negative": lambda x: x / 255 - 0.1,
    "nan": lambda x: np.where(x == 3, np.nan, x / 255),
    "infinite": lambda x: np.where(x == 3, np.inf, x / 255),
}
BAD_LABELS = {
    "few": lambda y: y[:-1],
    "one-hot": lambda y: np.eye(9)[y],
    "floats": lambda y: y * 0.5,
    "text": lambda y: y.astype(str),
    "objects": lambda y: y.astype(object),
    "a number": lambda y: np.int64(3),
    "numbers of images": lambda y: np.arange(len(y)),
}


def archive(arrays: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def lying(rng: np.random.Generator) -> bytes:
    """Images whose header says another shape than there is."""
    shape = choose(rng, ["(10**9, 8, 8)", "(1000000000, 8, 8)", "(-100, 8, 8)", "(100, 8)", "3", "(1e3, 8, 8)", "None",
                         "(121, 8, 8)", "(120, 9, 8)", "(True, 8, 8)", "('a', 8, 8)"])  # fmt: skip
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        written.writestr("images.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(7680))
    return file.getvalue()


def make(rng: np.random.Generator, folder: Path) -> Case:
    x, y = images(rng), labels(rng)
    arrays: dict[str, Any] = {"images": GOOD[choose(rng, list(GOOD))](x)}
    if rng.random() < 0.5:
        arrays["labels"] = y
    what, nonsense = choose(rng, ["good", "images", "labels", "names", "lying", "damaged"]), True
    if what == "images":
        kind = choose(rng, list(BAD))
        arrays["images"], what = BAD[kind](x), f"images: {kind}"
    elif what == "labels":
        kind = choose(rng, list(BAD_LABELS))
        arrays["labels"], what = BAD_LABELS[kind](y), f"labels: {kind}"
    elif what == "names":
        arrays = {choose(rng, ["x", "Images", "images.npy.npy", "../images", "\x1b[2J"]): x}
    elif what in ("good", "damaged"):
        nonsense = False  # a flipped bit may lie in a date
    content = lying(rng) if what == "lying" else archive(arrays)
    if what == "damaged":
        content = damaged(rng, content)
    path = folder / choose(rng, ["mine.npz", "a\x1b[2J.npz", "$b^{$c.npz", "<b>[red].npz", "\udcff.npz"])
    path.write_bytes(content)
    binarization = choose(rng, list(BINARIZATIONS))
    return Case(lambda: load(str(path), binarization=binarization), nonsense, f"{what}, as {path.name!r}")
