"""Data sets before binarisation: images of three splits, and where they come from."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

SPLIT_SEED = 0

Arrays = dict[str, np.ndarray]


class Source(NamedTuple):
    """Images as they were read.

    Attributes:
        name: name of the data set, fit for a file.
        splits: training, validation and test images: {"x": [N, height, width], or [N, height, width, 3] in colour, in
            [0, 1]} and, with labels, "y": [N].
        num_levels: number of levels L that the values k / (L - 1) take; 2 for binary images, None for any floats.
        description: what was read, and how it was changed.
    """

    name: str
    splits: tuple[Arrays, Arrays, Arrays]
    num_levels: int | None
    description: str


def digits() -> Source:
    """The digits of scikit-learn: 1797 images of 8x8 with 17 grey levels, split 1197 / 300 / 300."""
    from sklearn.datasets import load_digits

    images = load_digits()
    arrays = {"x": (images.images / 16).astype(np.float32), "y": images.target.astype(np.int32)}
    return Source("digits", split_at_random(arrays, 300), 17, "scikit-learn's digits, drawn into splits by a fixed key")


def split_at_random(arrays: Arrays, num_held_out: int) -> tuple[Arrays, Arrays, Arrays]:
    """Training, validation and test examples, drawn with a fixed key; `num_held_out` each of the last two."""
    return draw_splits(arrays, (len(arrays["x"]) - 2 * num_held_out, num_held_out, num_held_out))


def draw_splits(arrays: Arrays, sizes: tuple[int, int, int]) -> tuple[Arrays, Arrays, Arrays]:
    """Training, validation and test examples of these numbers, drawn with a fixed key; what is left is not used.

    Raises:
        ValueError: there are fewer examples, or a split would be empty.
    """
    num = len(arrays["x"])
    if min(sizes) < 1 or sum(sizes) > num:
        raise ValueError(f"Expected splits of at least one image and {num:,} together; got {sizes}.")
    order = np.asarray(jax.random.permutation(jax.random.key(SPLIT_SEED), num))
    first, second, third, _ = np.split(order, np.cumsum(sizes))
    train, validation, test = ({name: array[rows] for name, array in arrays.items()} for rows in (first, second, third))
    return train, validation, test


def draw_by_class(arrays: Arrays, counts: tuple[int, int, int]) -> tuple[Arrays, Arrays, Arrays]:
    """Training, validation and test examples, so many of each class, drawn with a fixed key and mixed."""
    order = np.asarray(jax.random.permutation(jax.random.key(SPLIT_SEED), len(arrays["x"])))
    classes = arrays["y"][order]
    place = np.zeros(len(order), int)  # among the examples of its class
    for label in np.unique(classes):
        place[classes == label] = np.arange(np.sum(classes == label))
    splits = np.digitize(place, np.cumsum(counts))
    # The places count up: the first examples of a later split are of the classes that are drawn first.
    mixed = np.asarray(jax.random.permutation(jax.random.key(SPLIT_SEED + 1), len(order)))
    order, splits = order[mixed], splits[mixed]
    train, validation, test = ({name: array[order[splits == i]] for name, array in arrays.items()} for i in range(3))
    return train, validation, test


def cached(name: str, read: Callable[[], Arrays]) -> Arrays:
    """Arrays from the cache folder; they are read, and kept there, if they are not."""
    file = cache_folder() / f"{name}.npz"
    if file.exists():
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except (OSError, ValueError):
            file.unlink(missing_ok=True)  # a damaged cache is made again
    arrays = read()
    _keep(file, arrays)
    return arrays


def _keep(file: Path, arrays: Arrays) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.tmp.npz")
        np.savez_compressed(partial, allow_pickle=False, **arrays)
        partial.replace(file)
    except OSError:
        pass  # a cache that cannot be written only costs time


def scale(x: np.ndarray) -> tuple[np.ndarray, int]:
    """Bytes as floats in [0, 1], and their number of levels: 2 if they are binary (0 and 1, or 0 and 255)."""
    largest = max(int(x.max()), 1)
    binary = not ((x > 0) & (x < largest)).any() and largest in (1, 255)
    return x.astype(np.float32) / (largest if binary else 255), 2 if binary else 256


def describe(splits: tuple[Arrays, Arrays, Arrays], num_levels: int | None) -> str:
    """A sentence on sizes, shape, levels and classes of the splits."""
    sizes = [f"{len(split['x']):,}" for split in splits]
    height, width, *channels = splits[0]["x"].shape[1:]
    kind = f"{channels[0]} channels" if channels else "grey"
    in_levels = {2: "binary", None: "not in levels"}.get(num_levels, f"{num_levels} levels")
    values = in_levels if num_levels == 2 and not channels else f"{kind}, {in_levels}"
    labels = f"{count_classes(splits)} classes" if "y" in splits[0] else "no labels"
    return f"{sizes[0]} training, {sizes[1]} validation, {sizes[2]} test images, {height}x{width}, {values}; {labels}"


LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's


def luminance(images: np.ndarray) -> np.ndarray:
    """Colour images [..., 3] as grey ones of the same dtype: bytes, or floats in [0, 1]."""
    grey = images.astype(np.float32) @ LUMINANCE
    return grey.round().astype(np.uint8) if images.dtype == np.uint8 else np.clip(grey, 0, 1)


def count_classes(splits: tuple[Arrays, Arrays, Arrays]) -> int | None:
    """Number of classes, or None without labels."""
    return int(max(split["y"].max() for split in splits)) + 1 if "y" in splits[0] else None


def cache_folder() -> Path:
    """Where arrays are kept: $XDG_CACHE_HOME/vaepriors_jax, by default under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vaepriors_jax"


def user_path(text: str) -> Path:
    """A path that a user typed, in which `~` is a home folder.

    Raises:
        ValueError: it cannot be a path.
    """
    try:
        path = Path(text).expanduser()
        path.exists()  # which finds paths that are too long, or hold a null character
    except (OSError, RuntimeError, ValueError) as error:
        raise ValueError(f"Expected a path of this machine; got {text[:100]!r}: {error}.") from error
    return path
