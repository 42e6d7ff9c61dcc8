"""How fast and how large is training on batches that stream, beside arrays in memory?"""

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp
from experiments.benchmarks import paper
from experiments.benchmarks.child import watch_memory
from experiments.benchmarks.common import Part, call_in_child, format_ratio, format_seconds
from experiments.models.vaes import Sizes, make_vae
from experiments.report.document import Table

MB = 1e6


class Settings(NamedTuple):
    """Sizes of the model of the paper, and of the file of images of bytes."""

    sizes: Sizes = paper.SIZES
    num_images: int = 20_000
    num_epochs: int = 3
    batch_size: int = 100
    shape: tuple[int, ...] = (64, 64, 3)
    in_file: tuple[int, ...] = (1000, 20_000, 200_000)


SMALL = Settings(paper.SMALL_SIZES, 400, 2, shape=(8, 8, 3), in_file=(200, 400))


def write_images(path: Path, num_images: int, shape: tuple[int, ...], chunk: int = 1000) -> None:
    """Writes random images of bytes, a chunk at a time."""
    rng = np.random.default_rng(0)
    file: Any = np.lib.format.open_memmap(path, "w+", np.uint8, (num_images, *shape))
    for start in range(0, num_images, chunk):
        part = file[start : start + chunk]
        part[...] = rng.integers(0, 256, part.shape, np.uint8)


def batches_of_file(path: Path, num_images: int, batch_size: int, epoch: int) -> Iterator[dict[str, np.ndarray]]:
    """Shuffled batches. The map is opened anew for each: the pages that were read count as memory of the process."""
    order = np.random.default_rng(epoch).permutation(num_images)
    for start in range(0, num_images, batch_size):
        yield {"x": np.load(path, mmap_mode="r")[np.sort(order[start : start + batch_size])]}


def train_on_file(path: str, num_images: int, shape: list[int], batch_size: int) -> dict[str, Any]:
    """Trains a linear VAE for an epoch on the first images of a file; for use in a process of its own.

    Beside the time it tells the memory that the process held meanwhile, pages of the file apart: median and largest.
    """
    size = int(np.prod(shape))
    vae = vp.VAE(
        lambda params, x: vp.normal_diag(params @ (x.astype(jnp.float32).ravel() / 255 - 0.5), jnp.ones(2)),
        lambda params, z: vp.discretized_logistic((params @ z).reshape(shape) + 0.5, 0.2 * jnp.ones(shape)),
        vp.standard_normal(2),
    )
    params = vp.VAEParams(jnp.zeros((2, size)), jnp.zeros((size, 2)), {})
    batches = partial(batches_of_file, Path(path), num_images, batch_size)
    options: dict[str, Any] = {"num_epochs": 1, "progress": False}
    fit = partial(vp.fit, vae, params, jax.random.key(0), batches, optax.sgd(1e-6), **options)
    result, held = watch_memory(fit)
    return {
        "seconds": result.seconds_per_epoch,
        "steps": int(result.state.step),
        "median_own_bytes": int(np.median(held)),
        "peak_own_bytes": max(held),
    }


def _seconds(settings: Settings, data: Any, source: str) -> float:
    """Seconds of an epoch of the VAE of the paper on the first images."""
    vae, init = make_vae("standard", settings.sizes, data)
    x = data.train["x"][: settings.num_images]

    def batches(epoch: int) -> Iterator[dict[str, np.ndarray]]:
        order = np.random.default_rng(epoch).permutation(len(x))
        return ({"x": x[rows]} for rows in np.split(order, len(x) // settings.batch_size))

    key = jax.random.key(0)
    adam, epochs = optax.adam(paper.LEARNING_RATE), settings.num_epochs
    if source == "arrays":
        options = {"num_epochs": epochs, "batch_size": settings.batch_size, "progress": False}
        return vp.fit(vae, init(key), key, {"x": x}, adam, **options).seconds_per_epoch
    return vp.fit(vae, init(key), key, batches, adam, num_epochs=epochs, progress=False).seconds_per_epoch


def run(settings: Settings) -> Part:
    """Times arrays and batches, and takes the memory of fresh processes that train on files."""
    data = paper.load_images(settings.num_images, 1)
    arrays, batches = (_seconds(settings, data, source) for source in ("arrays", "batches"))
    scale = paper.EPOCH_IMAGES / settings.num_images
    rows = [
        ["arrays in memory", format_seconds(arrays * scale), "–"],
        ["batches", format_seconds(batches * scale), format_ratio(batches, arrays)],
    ]
    notes = [f"{data.name}; an epoch of 50,000 images with a standard prior, batch {settings.batch_size}."]
    speed = Table("an epoch on batches that stream", ["data", "seconds", "of arrays"], rows, notes)
    measured: dict[str, Any] = {"arrays": arrays * scale, "batches": batches * scale, "files": {}}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        write_images(path, max(settings.in_file), settings.shape)
        for count in settings.in_file:
            arguments = {"path": str(path), "num_images": count, "shape": settings.shape, "batch_size": 100}
            found = measured["files"][str(count)] = call_in_child("streams:train_on_file", arguments)
            size = count * int(np.prod(settings.shape)) / MB
            seconds, peak = found.get("seconds"), found.get("peak_own_bytes")
            memory = "–" if peak is None else f"{peak / MB:,.0f} MB"
            rows.append([f"{count:,}", f"{size:,.0f} MB", format_seconds(seconds), memory])
    shape = " x ".join(map(str, settings.shape))
    notes = [
        f"Images of {shape} bytes, a linear VAE, batch 100. The largest memory of a fresh process in one epoch without "
        "mapped pages, which the system takes back when it needs memory."
    ]
    memory = Table("training from a file", ["images", "in the file", "seconds", "memory"], rows, notes)
    return Part([speed, memory], measured)
