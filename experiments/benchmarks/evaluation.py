"""What do evaluations at the size of MNIST cost in time and peak memory? Each runs in a process of its own."""

import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments.benchmarks import paper
from experiments.benchmarks.common import Part, call_in_child, timed
from experiments.models.vaes import Sizes, make_vae
from experiments.report.document import Table
from vaepriors_jax.evaluation.samples import frechet_distance

NUM_TEST = 10_000


class Settings(NamedTuple):
    """Sizes. With fewer than 10,000 test images the time for log p(x) is extrapolated."""

    num_test: int = 500
    num_samples: int = 5000
    num_train: int = 60_000
    num_points: int = 10_000
    num_features: int = 84
    sizes: Sizes = paper.SIZES


SMALL = Settings(20, 50, 300, 100, 5, paper.SMALL_SIZES)


def log_marginal(prior: str, num_test: int, num_samples: int, sizes: dict[str, Any]) -> dict[str, Any]:
    """Seconds of the first call, which compiles, and of the second, with fresh parameters."""
    data = paper.load_images(1, num_test)
    vae, init = make_vae(prior, paper.sizes_from(sizes), data)
    params = init(jax.random.key(0))

    def call() -> jax.Array:
        return vp.log_marginal(vae, params, jax.random.key(1), data.test["x"], num_samples=num_samples).values

    first = timed(call)
    return {"first": first, "second": timed(call), "num_test": len(data.test["x"]), "data": data.name}


def aggregated_density(num_train: int, num_points: int, dim: int) -> dict[str, Any]:
    """Seconds for log q(z) of a whole data set at many points, compilation included."""
    keys = jax.random.split(jax.random.key(0), 2)
    loc = jax.random.normal(keys[0], (num_train, dim))
    scale = jnp.full_like(loc, 0.3)
    q = vp.DiagonalMixture(jnp.full(num_train, -jnp.log(num_train)), loc, scale)
    z = jax.block_until_ready(q.sample(seed=keys[1], sample_shape=num_points))
    return {"seconds": timed(vp.log_prob_in_chunks, q, z)}


def frechet(num_points: int, num_features: int) -> dict[str, Any]:
    """Seconds for FID between two sets of features."""
    random = np.random.default_rng(0)
    real, generated = random.normal(size=(2, num_points, num_features)).astype(np.float32)
    began = time.perf_counter()
    frechet_distance(real, generated)
    return {"seconds": time.perf_counter() - began}


def run(settings: Settings) -> Part:
    """Runs each in a child process, and puts it beside its limit."""
    measured: dict[str, Any] = {}
    rows, notes = [], ["Each in a process of its own, whose whole memory is counted (Python and jax included)."]
    for prior in ("standard", "vamp"):
        arguments: dict[str, Any] = {"prior": prior, "num_test": settings.num_test, "num_samples": settings.num_samples}
        child = call_in_child("evaluation:log_marginal", arguments | {"sizes": settings.sizes._asdict()})
        if "first" in child:
            # Compilation once, the rest for as many images as there are.
            compilation = max(child["first"] - child["second"], 0.0)
            child["seconds"] = compilation + child["second"] * NUM_TEST / child["num_test"]
        measured[f"log p(x), {prior}, S = {settings.num_samples}"] = child | {"limit": 360.0}
    arguments = {"num_train": settings.num_train, "num_points": settings.num_points, "dim": settings.sizes.latent_dim}
    name = f"log q(z), {settings.num_train:,} components, {settings.num_points:,} points"
    measured[name] = call_in_child("evaluation:aggregated_density", arguments) | {"limit": 10.0}
    arguments = {"num_points": settings.num_points, "num_features": settings.num_features}
    name = f"FID, {settings.num_points:,} against {settings.num_points:,}, {settings.num_features} features"
    measured[name] = call_in_child("evaluation:frechet", arguments) | {"limit": 15.0}
    for name, child in measured.items():
        memory = f"{child['peak_bytes'] / 1e9:.2f} GB" if "peak_bytes" in child else "–"
        seconds = f"{child['seconds']:.1f} s" if "seconds" in child else "–"
        rows.append([name, seconds, f"{child['limit']:.0f} s", memory, "2 GB" if "log p(x)" in name else "–"])
        notes += [f"Not available: {name}: {child['unavailable']}"] if "unavailable" in child else []
    if settings.num_test < NUM_TEST:
        notes.append(
            f"log p(x) of {NUM_TEST:,} images is extrapolated from {settings.num_test}: compilation once, and the "
            "rest in proportion. --full measures all of them."
        )
    header = ["", "seconds", "limit", "peak memory", "limit of memory"]
    return Part([Table("evaluation, compilation included", header, rows, notes)], measured)
