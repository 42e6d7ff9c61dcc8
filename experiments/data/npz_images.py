"""The user's own images: an .npz file, checked."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import numpy as np

from experiments.data.sources import Arrays, Source, draw_splits, luminance, scale, split_at_random
from experiments.report.printable import printable

LEAST_IMAGES, LEAST_SIZE = 100, 8
MOST_VALUES = 2**28  # of one array: 1 GiB in float32, and several times that with its splits
Header = tuple[tuple[int, ...], np.dtype]
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
DARK = 32  # bytes below are another scale, such as labels or 17 grey levels
WANTED = 'Save them with `np.savez("my_images.npz", images=images, labels=labels)`; labels are optional.'


def read_npz(path: Path, sizes: tuple[int, int, int] | None = None, *, grey: bool = False) -> Source:
    """Reads images, and labels where there are any, and splits them by a fixed key: 2/3, 1/6, 1/6, or into `sizes`.

    Args:
        path: a file of `np.savez` with `images` [N, height, width], [N, height, width, 1], or [N, height, width, 3] in
            colour: uint8, or floats in [0, 1]; and optional integer `labels` [N], which are numbered from 0. Images
            have at most 2^28 values, and a class has two images on average. Other arrays of the file are not read.
        sizes: numbers of training, validation and test images.
        grey: whether colours become grey.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file has no images, or images or labels of another kind; the message says what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected an .npz file of images; {path} does not exist. {WANTED}")
    if not is_zipfile(path):
        raise ValueError(f"Expected an .npz file of plain arrays; {path} is no zip file, as .npz files are. {WANTED}")
    headers = _read_headers(path)
    _check_headers(path, **headers)
    given = _read_arrays(path, headers)
    images = given["images"]
    _check_values(path, images)
    made_grey = grey and images.shape[3:] == (3,)
    x, num_levels = _scale(luminance(images) if made_grey else images)
    arrays: Arrays = {"x": x}
    notes = ["colours made grey (luminance)"] if made_grey else _note_on_colours(images)
    if "labels" in given:
        classes, arrays["y"] = _number(path, given["labels"])
        if not np.array_equal(classes, np.arange(len(classes))):
            notes.append(f"labels {classes[0]} to {classes[-1]} numbered from 0 to {len(classes) - 1}")
    notes.append("drawn into splits by a fixed key")
    splits = draw_splits(arrays, sizes) if sizes else split_at_random(arrays, len(x) // 6)
    name, description = printable(path.stem), printable(f"{path}, {', '.join(notes)}")
    return Source(name, splits, num_levels, description)


@contextmanager
def _open(path: Path) -> Iterator[ZipFile]:
    """Opens the file; whatever is wrong with it as a file becomes a ValueError."""
    try:
        with ZipFile(path) as archive:
            yield archive
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"Expected an .npz file of plain arrays; {path} cannot be read: {reason}. {WANTED}") from error


def _read_headers(path: Path) -> dict[str, Header]:
    """The headers of the images, and of the labels where there are any; nothing else is read."""
    with _open(path) as archive:
        stored = sorted(name.removesuffix(".npy") for name in archive.namelist())
        headers = {name: _read_header(archive, name) for name in ("images", "labels") if name in stored}
    if "images" not in headers:
        raise ValueError(f"Expected an array 'images' in {path}; it holds {stored[:20] or 'nothing'}. {WANTED}")
    return headers


def _read_header(archive: ZipFile, name: str) -> Header:
    with archive.open(f"{name}.npy") as member:
        version = np.lib.format.read_magic(member)
        if version not in HEADERS:
            raise ValueError(f"its array {name!r} has named fields")
        shape, _, dtype = HEADERS[version](member)
    if dtype.hasobject:
        raise ValueError("it holds objects of Python")
    return shape, dtype


def _read_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    arrays = {}
    with _open(path) as archive:
        for name in names:
            with archive.open(f"{name}.npy") as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
    return arrays


def _check_headers(path: Path, images: Header, labels: Header | None = None) -> None:
    """Raises ValueError unless these are shapes and dtypes of images [N, height, width] or [N, height, width, 1 or 3].

    Labels, where there are any, are integers [N].
    """
    shape, dtype = images
    if not (dtype == np.uint8 or dtype in (np.float16, np.float32, np.float64)):
        example = "images.astype(np.float32)" if dtype.kind == "f" else "images.astype(np.uint8)"
        raise ValueError(
            f"Expected images of dtype uint8 (0 to 255) or float (0 to 1) in {path}; got {dtype}. Convert them, such "
            f"as by `{example}`."
        )
    if len(shape) == 4 and shape[3] == 4:
        raise ValueError(
            f"Expected images of 1 or 3 channels in {path}; got shape {shape}, of 4 channels, as with transparency. "
            "Put them on a background, or leave the fourth channel out: `images[..., :3]`."
        )
    if len(shape) not in (3, 4) or shape[3:] not in ((), (1,), (3,)):
        raise ValueError(
            f"Expected images [N, height, width], or with a last axis of 1 or 3 channels, in {path}; got shape {shape}."
            " Reshape them."
        )
    if shape[0] < LEAST_IMAGES:
        raise ValueError(f"Expected at least {LEAST_IMAGES} images in {path}; got {shape[0]}. Add more.")
    if min(shape[1:3]) < LEAST_SIZE:
        raise ValueError(
            f"Expected images of at least {LEAST_SIZE}x{LEAST_SIZE} pixels in {path}; got {shape[1]}x{shape[2]}. Pad "
            "or enlarge them."
        )
    if math.prod(shape) > MOST_VALUES:
        raise ValueError(
            f"Expected at most {MOST_VALUES:,} values in the images of {path}; got shape {shape}. Take fewer or "
            "smaller images."
        )
    if labels is None:
        return
    label_shape, label_dtype = labels
    if label_shape != shape[:1]:
        raise ValueError(f"Expected one label an image, shape ({shape[0]},), in {path}; got shape {label_shape}.")
    if not np.issubdtype(label_dtype, np.integer):
        raise ValueError(f"Expected integer labels in {path}; got dtype {label_dtype}. Number the classes.")


def _check_values(path: Path, images: np.ndarray) -> None:
    """Raises ValueError unless the values are those of images."""
    if images.dtype == np.uint8:
        if 1 < images.max() < DARK:
            raise ValueError(
                f"Expected bytes from 0 to 255, or zeros and ones, as images in {path}; got values up to "
                f"{images.max()}, which would be nearly black. Scale them, such as by `images / images.max()`."
            )
        return
    if wrong := int((~np.isfinite(images)).sum()):
        raise ValueError(f"Expected finite images in {path}; got {wrong} values that are NaN or infinite. Fill them.")
    if images.min() < 0 or images.max() > 1:
        raise ValueError(
            f"Expected floats in [0, 1] as images in {path}; got values from {images.min()} to {images.max()}. Scale "
            "them, such as by `(images - images.min()) / (images.max() - images.min())`, or save bytes as uint8."
        )


def _note_on_colours(images: np.ndarray) -> list[str]:
    """What a user may not know of the images: that they are grey, stored as colours."""
    if images.shape[3:] != (3,) or (images != images[..., :1]).any():
        return []
    return ["all three channels are equal, of which --grey makes one"]


def _scale(images: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Images [N, height, width] or [N, height, width, 3] in [0, 1], and their number of levels."""
    if images.shape[3:] == (1,):
        images = images[..., 0]
    if images.dtype == np.uint8:
        return scale(images)
    x = images.astype(np.float32)
    if np.isin(x, (0, 1)).all():
        return x, 2
    return x, 256 if (np.abs(255 * x - np.round(255 * x)) < 0.02).all() else None


def _number(path: Path, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes in order, and the number of the class of each image."""
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) > len(labels) // 2:
        raise ValueError(
            f"Expected labels of classes, of two images each or more, in {path}; got {len(classes)} classes for "
            f"{len(labels)} images. Leave out labels that number the images."
        )
    return classes, numbers.astype(np.int32)
