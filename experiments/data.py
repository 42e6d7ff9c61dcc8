"""Image data sets as arrays: scikit-learn's digits, and MNIST's family through tensorflow-datasets."""

import importlib.util
import io
import os
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from vaepriors_jax.training import Transform

DATASETS = ("digits", "mnist", "fashion_mnist", "binarized_mnist")
BINARIZATIONS = ("dynamic", "static", "threshold")
SPLIT_SEED, BINARIZATION_SEED = 0, 1

Arrays = dict[str, np.ndarray]


class Dataset(NamedTuple):
    """Images in [0, 1], and labels where there are any.

    Attributes:
        name: name of the data set.
        binarization: how it became binary.
        train: {"x": [N, height, width]} and, with labels, "y": [N]. Grey where binarisation is dynamic.
        validation: the same, always binarised.
        test: the same, always binarised.
        fixed_train: the training images binarised once, for what is measured on them.
        transform: what training does to a batch: `vp.binarize` where binarisation is dynamic.
        num_classes: number of classes, or None without labels.
    """

    name: str
    binarization: str
    train: Arrays
    validation: Arrays
    test: Arrays
    fixed_train: Arrays
    transform: Transform | None
    num_classes: int | None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height and width."""
        return self.train["x"].shape[1:]


def load(dataset: str, *, binarization: str = "dynamic", data_dir: str | None = None) -> Dataset:
    """Loads a data set.

    `digits` comes with scikit-learn: 1797 images of 8x8 with 17 grey levels, split 1197 / 300 / 300 with a fixed key.
    The others are read with `tfds.data_source`, which needs no tensorflow, and kept as arrays in a cache. `mnist` and
    `fashion_mnist` split 50,000 / 10,000 / 10,000. `binarized_mnist` is binary as it comes, and has no labels.

    Args:
        dataset: one of `DATASETS`.
        binarization: "dynamic" (training images drawn anew at each step), "static" (all drawn once) or "threshold" (at
            0.5). Validation and test images are drawn once, with a fixed key.
        data_dir: folder of the prepared TFDS data sets; by default the environment's TFDS_DATA_DIR, or TFDS's own.

    Raises:
        ValueError: an unknown data set or binarisation.
        FileNotFoundError: no prepared copy; the message says what to run.
    """
    if dataset not in DATASETS:
        raise ValueError(f"Expected `dataset` to be one of {', '.join(DATASETS)}; got {dataset!r}.")
    if binarization not in BINARIZATIONS:
        raise ValueError(f"Expected `binarization` to be one of {', '.join(BINARIZATIONS)}; got {binarization!r}.")
    if dataset == "digits":
        splits = _digits()
    else:
        data_dir = data_dir or os.environ.get("TFDS_DATA_DIR")
        names = ("train", "test") if dataset != "binarized_mnist" else ("train", "validation", "test")
        parts = [read_tfds(dataset, name, data_dir) for name in names]
        if len(parts) == 2:
            num_train = len(parts[0]["x"]) * 5 // 6
            head = {name: array[:num_train] for name, array in parts[0].items()}
            tail = {name: array[num_train:] for name, array in parts[0].items()}
            parts = [head, tail, parts[1]]
        splits = parts
    train, validation, test = splits
    if dataset == "binarized_mnist":
        return Dataset(dataset, "none", train, validation, test, train, None, None)
    keys = jax.random.split(jax.random.key(BINARIZATION_SEED), 3)
    fixed = [_binarize_once(key, split, binarization) for key, split in zip(keys, splits, strict=True)]
    transform = vp.binarize if binarization == "dynamic" else None
    num_classes = int(max(split["y"].max() for split in splits)) + 1
    fixed_train, validation, test = fixed
    train = train if transform else fixed_train
    return Dataset(dataset, binarization, train, validation, test, fixed_train, transform, num_classes)


def _binarize_once(key: jax.Array, split: Arrays, binarization: str) -> Arrays:
    if binarization == "threshold":
        return {**split, "x": (split["x"] > 0.5).astype(np.float32)}
    return {**split, "x": np.asarray(vp.binarize(key, {"x": jnp.asarray(split["x"])})["x"])}


def _digits() -> list[Arrays]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)
    order = np.asarray(jax.random.permutation(jax.random.key(SPLIT_SEED), len(images)))
    rows = np.split(order, [1197, 1497])
    return [{"x": images[row], "y": digits.target[row].astype(np.int32)} for row in rows]


def cache_folder() -> Path:
    """Where arrays are kept: $XDG_CACHE_HOME/vaepriors_jax, by default under ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vaepriors_jax"


def read_tfds(dataset: str, split: str, data_dir: str | None = None) -> Arrays:
    """Reads one split of a prepared TFDS image data set: {"x": [N, height, width] in [0, 1], "y": [N]}.

    Raises:
        FileNotFoundError: no prepared copy; the message says what to run.
    """
    import tensorflow_datasets as tfds

    # Preparing a data set needs tensorflow; where it is installed, TFDS downloads as usual.
    can_prepare = importlib.util.find_spec("tensorflow") is not None
    try:
        decoders: Any = {"image": tfds.decode.SkipDecoding()}
        source = tfds.data_source(
            dataset, split=split, data_dir=data_dir, download=can_prepare, decoders=decoders, try_gcs=False
        )
        version = str(source.dataset_info.version)
    except Exception as error:
        folder = data_dir or "TFDS's default folder (~/tensorflow_datasets)"
        raise FileNotFoundError(
            f"Expected a prepared copy of {dataset!r} (array_record) in {folder}; TFDS says: "
            f"{str(error).strip().splitlines()[0]}\nPrepare it once, with a network:\n"
            "  pip install tensorflow\n"
            f"  python -c \"import tensorflow_datasets as tfds; tfds.data_source('{dataset}')\"\n"
            "or set TFDS_DATA_DIR to a folder that holds it."
        ) from error
    cache = cache_folder() / f"{dataset}-{version}-{split}-{len(source)}.npz"
    if cache.exists():
        try:
            with np.load(cache, allow_pickle=False) as stored:
                return _scale({name: stored[name] for name in stored.files})
        except (OSError, ValueError):
            cache.unlink(missing_ok=True)  # a damaged cache is made again
    arrays = _decode(source)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_suffix(f".{os.getpid()}.tmp.npz")
        np.savez_compressed(partial, allow_pickle=False, **arrays)
        partial.replace(cache)
    except OSError:
        pass  # a cache that cannot be written only costs time
    return _scale(arrays)


def _decode(source: Any) -> Arrays:
    from PIL import Image

    images, labels = [], []
    for start in range(0, len(source), 1000):
        for record in source.__getitems__(list(range(start, min(start + 1000, len(source))))):
            encoded = record["image"]
            if isinstance(encoded, bytes):
                encoded = np.asarray(Image.open(io.BytesIO(encoded)))
            images.append(np.asarray(encoded).squeeze())
            if "label" in record:
                labels.append(int(record["label"]))
    x = np.stack(images)
    return {"x": x, "y": np.asarray(labels, np.int32)} if labels else {"x": x}


def _scale(arrays: Arrays) -> Arrays:
    x = arrays["x"]
    scale = 255 if x.dtype == np.uint8 and x.max() > 1 else 1
    return {**arrays, "x": x.astype(np.float32) / scale}
