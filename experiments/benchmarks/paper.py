"""Model, data and count of operations of the benchmark, at the size of Tomczak & Welling (2018)."""

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp
from experiments.benchmarks.common import medians
from experiments.data.dataset import Dataset, load
from experiments.models.vaes import Sizes, make_vae

SIZES = Sizes(
    latent_dim=40, hidden=(300, 300), num_components=500, flow_layers=4, flow_hidden=(100, 100), pseudo_inputs="random"
)
SMALL_SIZES = SIZES._replace(latent_dim=4, hidden=(16, 16), num_components=20, flow_layers=2, flow_hidden=(8,))
LEARNING_RATE = 5e-4
EPOCH_IMAGES = 50_000


def sizes_from(plain: dict[str, Any]) -> Sizes:
    """The sizes again, after a way through JSON."""
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
    return Sizes(**fields)


def load_images(num_train: int = EPOCH_IMAGES, num_test: int = 10_000) -> Dataset:
    """binarized_mnist where TFDS_DATA_DIR is set, else random images of its shape; random labels in either case."""
    random = np.random.default_rng(0)
    if os.environ.get("TFDS_DATA_DIR"):
        source = load("binarized_mnist")
        name, parts = source.name, [source.train["x"], source.test["x"]]
    else:
        # Float32 as they are drawn: in float64 they would be the peak of memory.
        name = "random images"
        parts = [(random.random((n, 28, 28), np.float32) < 0.15).astype(np.float32) for n in (num_train, num_test)]
    train, test = (
        {"x": x[:n], "y": random.integers(0, 10, len(x[:n])).astype(np.int32)}
        for x, n in zip(parts, (num_train, num_test), strict=True)
    )
    return Dataset(name, "none", train, test, test, train, None, 10)


def fit(
    name: str,
    sizes: Sizes,
    data: Dataset,
    *,
    num_images: int,
    batch_size: int = 100,
    num_epochs: int = 4,
    num_replicas: int | None = None,
    optimizer: optax.GradientTransformation | None = None,
    **options: Any,
) -> vp.FitResult:
    """Trains one prior on the first images as `vp.fit` does it, without a bar; the result says how long it took."""
    vae, init = make_vae(name, sizes, data)
    key: jax.Array = jax.random.key(0)
    params = init(key)
    if num_replicas is not None:
        key = jax.random.split(key, num_replicas)
        params = jax.tree.map(lambda leaf: jnp.stack([leaf] * num_replicas), params)
    train = {"x": data.train["x"][:num_images]}
    if name == "conditional":
        train["y"] = data.train["y"][:num_images]
    return vp.fit(
        vae,
        params,
        key,
        train,
        optimizer or optax.adam(LEARNING_RATE),
        num_epochs=num_epochs,
        batch_size=batch_size,
        progress=False,
        **options,
    )


def seconds_per_epoch(name: str, sizes: Sizes, data: Dataset, *, num_images: int, **options: Any) -> float:
    """Seconds of an epoch of 50,000 images, measured on the first `num_images`."""
    return fit(name, sizes, data, num_images=num_images, **options).seconds_per_epoch * EPOCH_IMAGES / num_images


def seconds_with(name: str, settings: Any, data: Dataset, num_replicas: int | None = None) -> float:
    """Seconds of an epoch of 50,000 images, with sizes, images, batch and epochs from the settings of a part."""
    return seconds_per_epoch(
        name,
        settings.sizes,
        data,
        num_images=settings.num_images,
        batch_size=settings.batch_size,
        num_epochs=settings.num_epochs,
        num_replicas=num_replicas,
    )


def gated_products(inputs: int, hidden: tuple[int, ...], outputs: int) -> int:
    """Multiply-adds of one pass through a gated network."""
    widths = (inputs, *hidden)
    return sum(2 * a * b for a, b in zip(widths, hidden, strict=False)) + widths[-1] * outputs


def training_operations(name: str, sizes: Sizes, batch_size: int, num_pixels: int = 784) -> float:
    """Floating-point operations of the products of one training step, for each image.

    A product costs two operations for each multiply-add, and three products forward and backward; the data need no
    gradient. A VampPrior encodes all pseudo-inputs once a step.
    """
    encoder = gated_products(num_pixels, sizes.hidden, 2 * sizes.latent_dim)
    decoder = gated_products(sizes.latent_dim, sizes.hidden, num_pixels)
    operations = 6.0 * (encoder + decoder) - 2 * 2 * num_pixels * sizes.hidden[0]
    if name in ("vamp", "mixture"):
        operations += 6.0 * 2 * sizes.num_components * sizes.latent_dim  # the quadratic forms: two products
    if name == "vamp":
        operations += 6.0 * encoder * sizes.num_components / batch_size
    return operations


def product_peak(size: int, repeats: int = 5) -> float:
    """Operations a second of large float32 matrix products, as jax runs them by default."""
    rates = []
    for n in (size // 2, size):
        a = jax.random.normal(jax.random.key(0), (n, n))
        call = partial(jax.jit(jnp.matmul), a, a)
        rates.append(2 * n**3 / medians({"product": call}, repeats)["product"])
    return max(rates)
