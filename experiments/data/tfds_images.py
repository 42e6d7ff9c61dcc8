"""Image data sets of tensorflow-datasets as arrays: read without tensorflow, and kept in a cache."""

import difflib
import importlib.util
import io
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from experiments.data.sources import Arrays, Source, cached, scale, split_at_random

GREY_SHAPE = (28, 28)
COMMON_SIZE = (64, 64)  # of colour images that come in several sizes
MOST_VALUES = 2**29  # of all splits: 2 GiB in float32
# Else TFDS takes TFRECORD wherever a folder is named, which cannot be read without tensorflow.
FORMAT = {"file_format": "array_record"}


class Prepared(NamedTuple):
    """A prepared data set: its records by split, the names of the features that are read, and the images' shape."""

    records: Mapping[str, Any]
    image: str
    label: str | None
    version: str
    shape: tuple[int, ...] = GREY_SHAPE


def read_splits(dataset: str, data_dir: str | None = None, *, grey: bool = False) -> Source:
    """Reads a data set by its TFDS name: training, validation and test images.

    Images of three channels stay as they are; those of several sizes become 64x64. With `grey`, they and images of one
    channel become grey and 28x28. An alpha channel is left out.

    Where there is no `validation`, it is the last sixth of `train`; where there is no `test`, `validation` is the test
    set; a single split is drawn into three by a fixed key.

    Raises:
        ValueError: an unknown name, a data set without images, one that is too large, or splits that cannot be told
            apart.
        FileNotFoundError: no prepared copy; the message says what to run.
    """
    prepared = open_prepared(dataset, data_dir)
    available, name = prepared.records, dataset.replace("/", "-").replace(":", "-")
    if len(available) > 1 and "train" not in available:
        raise ValueError(f"Expected a split 'train' in {dataset!r}; it has {', '.join(available)}. Use another one.")
    chosen = [split for split in ("train", "validation", "test") if split in available] or list(available)
    prepared = prepared._replace(records={split: available[split] for split in chosen})
    prepared = prepared._replace(shape=_shape(dataset, prepared, grey))
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
    """Bytes of one split, from the cache or decoded."""
    records = prepared.records[split]
    parts = [dataset.replace("/", "-").replace(":", "-"), prepared.version, split, str(len(records))]
    name = "-".join(parts if prepared.shape == GREY_SHAPE else [*parts, "x".join(map(str, prepared.shape))])
    return cached(name, partial(_decode, prepared, records))


def _decode(prepared: Prepared, records: Sequence[Any]) -> Arrays:
    images, labels = [], []
    for start in range(0, len(records), 1000):
        for record in records.__getitems__(list(range(start, min(start + 1000, len(records))))):  # pyright: ignore
            images.append(_as_array(record[prepared.image], prepared.shape))
            if prepared.label:
                labels.append(int(record[prepared.label]))
    x = np.stack(images)
    return {"x": x, "y": np.asarray(labels, np.int32)} if labels else {"x": x}


def _shape(dataset: str, prepared: Prepared, grey: bool) -> tuple[int, ...]:
    """The shape in which all images are read: 28x28 for grey ones, and that of colour images as they come."""
    first = next(iter(prepared.records.values()))[0][prepared.image]
    if grey or not _is_colour(_open(first)):
        return GREY_SHAPE
    sizes = {_open(record[prepared.image]).size for split in prepared.records.values() for record in split}
    width, height = sizes.pop() if len(sizes) == 1 else COMMON_SIZE
    num = sum(map(len, prepared.records.values()))
    if num * height * width * 3 > MOST_VALUES:
        raise ValueError(
            f"Expected at most {MOST_VALUES:,} values in all images; {dataset!r} has {num:,} images of "
            f"{height}x{width}x3. Use --grey, or save fewer or smaller images as an .npz file and give its path."
        )
    return height, width, 3


def _open(encoded: Any) -> Any:
    """An encoded image, or its bytes as an array, opened; pixels are decoded when they are read."""
    from PIL import Image

    if isinstance(encoded, bytes):
        return Image.open(io.BytesIO(encoded))
    return Image.fromarray(np.asarray(encoded).squeeze())


def _is_colour(image: Any) -> bool:
    return image.mode not in ("1", "L", "LA")


def _as_array(encoded: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The bytes of an image in this shape, grey without an axis for channels; stretched if its sides differ."""
    from PIL import Image

    image, size = _open(encoded).convert("L" if len(shape) == 2 else "RGB"), (shape[1], shape[0])
    return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BILINEAR))


def _describe_images(prepared: Prepared) -> str:
    """The size and channels of the first image, and how all were changed."""
    image, (height, width, *channels) = (
        _open(next(iter(prepared.records.values()))[0][prepared.image]),
        prepared.shape,
    )
    done = ["made grey (luminance)"] if _is_colour(image) and not channels else []
    done += ["alpha left out"] if "A" in image.mode else []
    if image.size != (width, height):
        stretched = "" if len(set(image.size)) == 1 else ", stretched"
        done += [f"resized to {height}x{width}{stretched}"]
    return f"images of {image.size[1]}x{image.size[0]}, {len(image.getbands())} channel(s) " + (
        " and ".join(done) or "as they come"
    )
