"""Image data sets of tensorflow-datasets as arrays: read without tensorflow, 28x28 and grey, kept in a cache."""

import difflib
import importlib.util
import io
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from experiments.data.sources import Arrays, Source, cached, scale, split_at_random

SIZE = (28, 28)
# Else TFDS takes TFRECORD wherever a folder is named, which cannot be read without tensorflow.
FORMAT = {"file_format": "array_record"}


class Prepared(NamedTuple):
    """A prepared data set: its records by split, and the names of the features that are read."""

    records: Mapping[str, Any]
    image: str
    label: str | None
    version: str


def read_splits(dataset: str, data_dir: str | None = None) -> Source:
    """Reads a data set by its TFDS name: training, validation and test images.

    Where there is no `validation`, it is the last sixth of `train`; where there is no `test`, `validation` is the test
    set; a single split is drawn into three by a fixed key.

    Raises:
        ValueError: an unknown name, a data set without images, or splits that cannot be told apart.
        FileNotFoundError: no prepared copy; the message says what to run.
    """
    prepared = open_prepared(dataset, data_dir)
    available, name = prepared.records, dataset.replace("/", "-").replace(":", "-")
    if len(available) > 1 and "train" not in available:
        raise ValueError(f"Expected a split 'train' in {dataset!r}; it has {', '.join(available)}. Use another one.")
    chosen = [split for split in ("train", "validation", "test") if split in available] or list(available)
    read = {split: _read(prepared, dataset, split) for split in chosen}
    if any("y" not in arrays or arrays["y"].min() < 0 for arrays in read.values()):  # -1: a test set without labels
        read = {split: {"x": arrays["x"]} for split, arrays in read.items()}
    scaled = {split: scale(arrays["x"]) for split, arrays in read.items()}
    splits, assignment = _assign({split: arrays | {"x": scaled[split][0]} for split, arrays in read.items()})
    description = f"TFDS {dataset} {prepared.version}, {_describe_images(prepared)}; {assignment}"
    return Source(name, splits, max(levels for _, levels in scaled.values()), description)


def _assign(parts: dict[str, Arrays]) -> tuple[tuple[Arrays, Arrays, Arrays], str]:
    """Training, validation and test images out of the splits that there are, and how they were chosen."""
    if len(parts) == 1:
        ((name, only),) = parts.items()
        return split_at_random(only, len(only["x"]) // 6), f"`{name}` drawn into three by a fixed key"
    if len(parts) == 3:
        return (parts["train"], parts["validation"], parts["test"]), "splits as they come"
    test = "test" if "test" in parts else "validation"
    num_train = len(parts["train"]["x"]) * 5 // 6
    head = {name: array[:num_train] for name, array in parts["train"].items()}
    tail = {name: array[num_train:] for name, array in parts["train"].items()}
    return (head, tail, parts[test]), f"validation is the last sixth of `train`, test is `{test}`"


def open_prepared(dataset: str, data_dir: str | None = None) -> Prepared:
    """Opens a prepared copy; where tensorflow is installed, TFDS prepares it as usual."""
    import tensorflow_datasets as tfds

    folder = data_dir or os.environ.get("TFDS_DATA_DIR")
    builder = _builder(dataset, folder)
    image, label = _features(dataset, builder.info.features)
    try:
        records: Any = tfds.data_source(
            dataset,
            data_dir=folder,
            download=importlib.util.find_spec("tensorflow") is not None,
            decoders=dict[str, Any]({image: tfds.decode.SkipDecoding()}),
            builder_kwargs=FORMAT,
            try_gcs=False,
        )
        if not records:
            raise ValueError("there is none")
    except Exception as error:
        raise FileNotFoundError(_missing(dataset, folder, error)) from error
    return Prepared(records, image, label, str(builder.info.version))


def _builder(dataset: str, folder: str | None) -> Any:
    """The TFDS builder of a data set, prepared or not."""
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(dataset, data_dir=folder, **FORMAT)
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        nearest = difflib.get_close_matches(dataset, [*known, "digits", "mnist_5k"], n=3, cutoff=0.5)
        raise ValueError(
            f"Expected `dataset` to be digits, mnist_5k, a TFDS name, or the path of an .npz file; got {dataset!r}. "
            + (
                f"Did you mean {' or '.join(map(repr, nearest))}?"
                if nearest
                else "See tensorflow.org/datasets/catalog."
            )
        ) from error
    except Exception as error:
        raise FileNotFoundError(_missing(dataset, folder, error)) from error


def _features(dataset: str, features: Any) -> tuple[str, str | None]:
    """The names of the image and of the label."""
    import tensorflow_datasets as tfds

    named = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    images = [name for name, feature in named.items() if type(feature) is tfds.features.Image]
    if "image" not in images and len(images) != 1:
        kinds = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in named.items()) or str(features)
        raise ValueError(
            f"Expected one image for each example of {dataset!r}; it has {kinds}. Choose an image data set (see "
            "tensorflow.org/datasets/catalog), or save your images as an .npz file and give its path."
        )
    image = "image" if "image" in images else images[0]
    if np.dtype(named[image].np_dtype) != np.uint8:
        raise ValueError(f"Expected images of 8 bits in {dataset!r}; got {np.dtype(named[image].np_dtype)}.")
    has_label = type(named.get("label")) is tfds.features.ClassLabel
    return image, "label" if has_label else None


def _missing(dataset: str, folder: str | None, error: Exception) -> str:
    return (
        f"Expected a prepared copy of {dataset!r} (array_record) in "
        f"{folder or 'TFDS’s default folder (~/tensorflow_datasets)'}; TFDS says: "
        f"{str(error).strip().splitlines()[0]}\nPrepare it once, with a network:\n"
        "  pip install tensorflow tensorflow-datasets importlib_resources\n"
        f"  python -c \"import tensorflow_datasets as tfds; tfds.data_source('{dataset}')\"\n"
        "or set TFDS_DATA_DIR to a folder that holds it."
    )


def _read(prepared: Prepared, dataset: str, split: str) -> Arrays:
    """Bytes of one split, 28x28 and grey, from the cache or decoded."""
    records = prepared.records[split]
    name = "-".join([dataset.replace("/", "-").replace(":", "-"), prepared.version, split, str(len(records))])
    return cached(name, partial(_decode, prepared, records))


def _decode(prepared: Prepared, records: Sequence[Any]) -> Arrays:
    images, labels = [], []
    for start in range(0, len(records), 1000):
        for record in records.__getitems__(list(range(start, min(start + 1000, len(records))))):  # pyright: ignore
            images.append(grey_image(record[prepared.image]))
            if prepared.label:
                labels.append(int(record[prepared.label]))
    x = np.stack(images)
    return {"x": x, "y": np.asarray(labels, np.int32)} if labels else {"x": x}


def grey_image(encoded: Any) -> np.ndarray:
    """An encoded image, or its bytes as an array, grey and 28x28; stretched if it was not square."""
    from PIL import Image

    image = (
        Image.open(io.BytesIO(encoded))
        if isinstance(encoded, bytes)
        else Image.fromarray(np.asarray(encoded).squeeze())
    )
    image = image.convert("L")
    return np.asarray(image if image.size == SIZE else image.resize(SIZE, Image.Resampling.BILINEAR))


def _describe_images(prepared: Prepared) -> str:
    """The size and channels of the first image, and how it was changed."""
    from PIL import Image

    encoded = next(iter(prepared.records.values()))[0][prepared.image]
    if not isinstance(encoded, bytes):
        return "28x28 grey"
    image = Image.open(io.BytesIO(encoded))
    done = [] if image.mode in ("L", "1") else ["made grey (luminance)"]
    done += [] if image.size == SIZE else [f"resized to 28x28{'' if len(set(image.size)) == 1 else ', stretched'}"]
    return f"images of {image.size[1]}x{image.size[0]}, {len(image.getbands())} channel(s) " + (
        " and ".join(done) or "as they come"
    )
