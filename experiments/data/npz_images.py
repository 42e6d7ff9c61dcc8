"""The user's own images: an .npz file, checked."""

from pathlib import Path
from zipfile import is_zipfile

import numpy as np

from experiments.data.sources import Arrays, Source, scale, split_at_random

LEAST_IMAGES, LEAST_SIZE = 100, 8
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow's
DARK = 32  # bytes below are another scale, such as labels or 17 grey levels
WANTED = 'Save them with `np.savez("my_images.npz", images=images, labels=labels)`; labels are optional.'


def read_npz(path: Path) -> Source:
    """Reads images, and labels where there are any, and splits them by a fixed key: 2/3, 1/6, 1/6.

    Args:
        path: a file of `np.savez` with `images` [N, height, width], [N, height, width, 1], or colours
            [N, height, width, 3], which become grey: uint8, or floats in [0, 1]; and optional integer `labels` [N],
            which are numbered from 0.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file has no images, or images or labels of another kind; the message says what to do.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected an .npz file of images; {path} does not exist. {WANTED}")
    if not is_zipfile(path):
        raise ValueError(f"Expected an .npz file of plain arrays; {path} is no zip file, as .npz files are. {WANTED}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            given = {name: stored[name] for name in stored.files}
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        if "allow_pickle" in reason:
            reason = "it holds objects of Python."
        raise ValueError(f"Expected an .npz file of plain arrays; {path} cannot be read: {reason} {WANTED}") from error
    if "images" not in given:
        raise ValueError(f"Expected an array 'images' in {path}; it holds {sorted(given) or 'nothing'}. {WANTED}")
    images = given["images"]
    _check_images(path, images)
    x, num_levels = _grey(images)
    arrays: Arrays = {"x": x}
    notes = ["colours made grey (luminance)"] if images.shape[3:] == (3,) else []
    if "labels" in given:
        classes, arrays["y"] = _number(path, given["labels"], len(x))
        if not np.array_equal(classes, np.arange(len(classes))):
            notes.append(f"labels {classes[0]} to {classes[-1]} numbered from 0 to {len(classes) - 1}")
    notes.append("drawn into splits by a fixed key")
    return Source(path.stem, split_at_random(arrays, len(x) // 6), num_levels, f"{path}, {', '.join(notes)}")


def _check_images(path: Path, images: np.ndarray) -> None:
    """Raises ValueError unless these are images [N, height, width] or [N, height, width, 1 or 3], fit to be learned."""
    shape = images.shape
    if not (images.dtype == np.uint8 or images.dtype in (np.float16, np.float32, np.float64)):
        raise ValueError(
            f"Expected images of dtype uint8 (0 to 255) or float (0 to 1) in {path}; got {images.dtype}. Convert them, "
            "such as by `images.astype(np.uint8)`."
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


def _grey(images: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Grey images [N, height, width] in [0, 1], and their number of levels."""
    if images.shape[3:] == (3,):
        grey = images.astype(np.float32) @ LUMINANCE
        images = grey.round().astype(np.uint8) if images.dtype == np.uint8 else np.clip(grey, 0, 1)
    images = images.reshape(images.shape[:3])
    if images.dtype == np.uint8:
        return scale(images)
    x = images.astype(np.float32)
    if np.isin(x, (0, 1)).all():
        return x, 2
    return x, 256 if (np.abs(255 * x - np.round(255 * x)) < 0.02).all() else None


def _number(path: Path, labels: np.ndarray, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes in order, and the number of the class of each image."""
    if labels.shape != (num_images,):
        raise ValueError(f"Expected one label an image, shape ({num_images},), in {path}; got shape {labels.shape}.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"Expected integer labels in {path}; got dtype {labels.dtype}. Number the classes.")
    classes, numbers = np.unique(labels, return_inverse=True)
    return classes, numbers.astype(np.int32)
