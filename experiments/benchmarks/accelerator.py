"""How many images a second does each prior take on a GPU, by batch and by replicas? Small sizes on a CPU."""

from typing import Any, NamedTuple

import jax

import vaepriors_jax as vp
from experiments.benchmarks import paper
from experiments.benchmarks.common import Part, format_seconds, timed
from experiments.data.dataset import Dataset
from experiments.models.families import PRIORS
from experiments.models.vaes import Sizes, make_vae
from experiments.report.document import Table


class Settings(NamedTuple):
    """Sizes; what a CPU does not finish in a few minutes is smaller there."""

    sizes: Sizes = paper.SIZES
    priors: tuple[str, ...] = PRIORS
    num_images: int = paper.EPOCH_IMAGES
    num_epochs: int = 4
    batch_sizes: tuple[int, ...] = (100, 500, 2000, 10_000)
    replicas: tuple[int, ...] = (1, 4, 16, 64)
    num_test: int = 10_000
    num_samples: int = 5000
    chunk_size: int = 50_000


ON_CPU = Settings(num_images=2000, num_epochs=2, batch_sizes=(100, 1000), replicas=(1, 4), num_test=20, chunk_size=1000)
SMALL = Settings(paper.SMALL_SIZES, ("standard", "vamp"), 200, 2, (20, 100), (1, 2), 10, 50, 50)


def _log_marginal_seconds(name: str, settings: Settings, data: Dataset) -> float:
    """Seconds for log p(x) of all test images, compilation apart."""
    vae, init = make_vae(name, settings.sizes, data)
    params = init(jax.random.key(0))
    options: dict[str, Any] = {"num_samples": settings.num_samples, "chunk_size": settings.chunk_size}
    if name == "conditional":
        options["y"] = data.test["y"]

    def call() -> jax.Array:
        return vp.log_marginal(vae, params, jax.random.key(1), data.test["x"], **options).values

    call()
    return timed(call)


def _measure(name: str, settings: Settings, data: Dataset) -> dict[str, Any]:
    """Images a second by batch and by replicas (of all replicas together), and seconds for log p(x)."""

    def images_per_second(batch_size: int, replicas: int) -> float:
        result = paper.fit(
            name,
            settings.sizes,
            data,
            num_images=settings.num_images,
            batch_size=batch_size,
            num_epochs=settings.num_epochs,
            num_replicas=replicas if replicas > 1 else None,
        )
        return replicas * (settings.num_images // batch_size * batch_size) / result.seconds_per_epoch

    return {
        "by_batch": {size: images_per_second(size, 1) for size in settings.batch_sizes},
        "by_replicas": {num: images_per_second(settings.batch_sizes[0], num) for num in settings.replicas},
        "log_marginal_seconds": _log_marginal_seconds(name, settings, data),
    }


def run(settings: Settings) -> Part:
    """Measures each prior on whatever device jax has."""
    data = paper.load_images(settings.num_images, settings.num_test)
    measured = {name: _measure(name, settings, data) for name in settings.priors}
    device = jax.devices()[0].device_kind
    smallest = settings.batch_sizes[0]
    note = [f"{device}; {data.name}; median of {settings.num_epochs} epochs of {settings.num_images:,} images."]
    tables = []
    for key, title in (
        ("by_batch", "images a second by batch"),
        ("by_replicas", f"images a second of all replicas together, batch {smallest}"),
    ):
        sizes = list(next(iter(measured.values()))[key])
        rows = [[name, *(f"{rates[key][size]:,.0f}" for size in sizes)] for name, rates in measured.items()]
        tables.append(Table(title, ["prior", *(f"{size:,}" for size in sizes)], rows, note))
    rows = [[name, format_seconds(times["log_marginal_seconds"])] for name, times in measured.items()]
    title = f"log p(x) of {settings.num_test:,} images, S = {settings.num_samples}"
    tables.append(Table(title, ["prior", "seconds"], rows, [f"{device}; compilation apart."]))
    return Part(tables, {"device": device, "data": data.name, "priors": measured})
