"""The data sets of published comparisons, with splits of the published sizes."""

import os
from typing import NamedTuple

from experiments.data.dataset import Dataset, load
from experiments.data.sources import user_path


class PublishedData(NamedTuple):
    """A data set, and where it is read from.

    Attributes:
        title: its name in tables.
        source: a TFDS name, or an .npz file in the folder $VAEPRIORS_DATA.
        sizes: numbers of training, validation and test images, drawn by a fixed key; None where the source has splits.
        note: how the data differ from those of the papers.
        cost: what training and evaluation cost, as a multiple of static MNIST.
    """

    title: str
    source: str
    sizes: tuple[int, int, int] | None = None
    note: str = ""
    cost: float = 1.0


OTHER_SPLIT = (
    "The split has the papers' sizes and not their images: compare differences to N(0, I), not absolute values."
)
DATASETS = {
    "static_mnist": PublishedData("Static MNIST", "binarized_mnist"),
    "dynamic_mnist": PublishedData(
        "Dynamic MNIST", "mnist", note="Validation and test images are binarised once, with a fixed key.", cost=1.5
    ),
    "fashion_mnist": PublishedData(
        "Fashion-MNIST", "fashion_mnist", note="Training images are binarised anew at each step.", cost=1.5
    ),
    "omniglot": PublishedData(
        "Omniglot",
        "omniglot_28.npz",
        (23_000, 1_345, 8_070),
        f"{OTHER_SPLIT} The images were scaled to 28x28 from the original drawings, the papers' otherwise. Training "
        "images are binarised anew at each step.",
        cost=0.8,
    ),
    "caltech101": PublishedData(
        "Caltech-101 silhouettes", "caltech101_silhouettes_28.npz", (4_100, 2_264, 2_307), OTHER_SPLIT, cost=0.3
    ),
}


def load_published(data: PublishedData, data_dir: str | None = None) -> Dataset:
    """Loads a data set, binarised anew at each step unless it is binary.

    Args:
        data: the data set.
        data_dir: folder of the .npz files; by default the environment's VAEPRIORS_DATA.

    Raises:
        ValueError: no folder of .npz files is known.
        FileNotFoundError: no such file, or no prepared copy.
    """
    if not data.source.endswith(".npz"):
        return load(data.source)
    folder = data_dir or os.environ.get("VAEPRIORS_DATA")
    if not folder:
        raise ValueError(
            f"Expected the folder that holds {data.source} (`images` [N, 28, 28] as bytes), by --data-dir or in the "
            "environment's VAEPRIORS_DATA; got none. `--only mnist` runs the settings that need no such file."
        )
    loaded = load(str(user_path(folder) / data.source), sizes=data.sizes)
    return loaded._replace(description=loaded.description.replace(folder, "$VAEPRIORS_DATA"))
