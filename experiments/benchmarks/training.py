"""How fast are training and log p(x), beside the original VampPrior code in PyTorch and pythae's VAMP?"""

import importlib.util
import statistics
from typing import Any, NamedTuple

import jax

import vaepriors_jax as vp
from experiments.benchmarks import paper
from experiments.benchmarks.common import Part, call_in_child, format_ratio, format_seconds, timed
from experiments.data.dataset import Dataset
from experiments.models.vaes import Sizes, make_vae
from experiments.report.document import Table

TARGETS = {"standard": 4.5, "vamp": 5.0, "pythae": 20.0}
LIKELIHOOD_TARGETS = {"standard": 7.0, "vamp": 25.0}
PEAK_TARGETS = {"standard": 0.5, "vamp": 0.6}
# GNU OpenMP's threads spin for about a millisecond after each operation; with another load on the cores that made
# PyTorch 20 times as slow, and a short spin did not.
TORCH_ENVIRONMENT = {"GOMP_SPINCOUNT": "1000"}


class Settings(NamedTuple):
    """Sizes, and how long each is measured."""

    sizes: Sizes = paper.SIZES
    batch_size: int = 100
    num_images: int = paper.EPOCH_IMAGES
    num_epochs: int = 4
    torch_blocks: int = 5
    torch_steps: int = 50
    likelihood_images: int = 50
    torch_likelihood_images: int = 6
    num_samples: int = 5000
    product_size: int = 4096


SMALL = Settings(
    sizes=paper.SMALL_SIZES,
    num_images=500,
    num_epochs=2,
    torch_blocks=1,
    torch_steps=2,
    likelihood_images=2,
    torch_likelihood_images=1,
    num_samples=200,
    product_size=256,
)


def run(settings: Settings) -> Part:
    """Times ours and the others in turn, each next to those that it is compared with."""
    data = paper.load_images(settings.num_images, 10_000)
    peak = paper.product_peak(settings.product_size)
    ours, others = {}, {}
    for name in ("standard", "vamp"):
        steps = {
            "batch_size": settings.batch_size,
            "blocks": settings.torch_blocks,
            "block_steps": settings.torch_steps,
        }
        others[name] = _call_torch(settings, "train", {"prior": name, **steps})
        seconds = paper.seconds_with(name, settings, data)
        if name == "vamp":
            others["pythae"] = _call_torch(settings, "train_pythae", steps)
        operations = paper.training_operations(name, settings.sizes, settings.batch_size)
        images = {"num_images": settings.torch_likelihood_images, "num_samples": settings.num_samples}
        others[f"{name} log p(x)"] = _call_torch(settings, "log_marginal", {"prior": name, **images})
        ours[name] = {
            "seconds_per_epoch": seconds,
            "operations_per_image": operations,
            "fraction_of_peak": operations * paper.EPOCH_IMAGES / seconds / peak,
            "log_marginal_seconds_per_image": _log_marginal_seconds(name, settings, data),
        }
    measured = {"ours": ours, "others": others, "peak_operations_per_second": peak, "data": data.name}
    tables = [_training_table(settings, measured), _likelihood_table(settings, measured)]
    return Part(tables, measured | {"settings": settings._replace(sizes=settings.sizes._asdict())._asdict()})


def _log_marginal_seconds(name: str, settings: Settings, data: Dataset) -> float:
    """Median seconds of three calls, compilation apart, for one image."""
    vae, init = make_vae(name, settings.sizes, data)
    params, x = init(jax.random.key(0)), data.test["x"][: settings.likelihood_images]

    def call() -> jax.Array:
        return vp.log_marginal(vae, params, jax.random.key(1), x, num_samples=settings.num_samples).values

    call()
    return statistics.median(timed(call) for _ in range(3)) / len(x)


def _call_torch(settings: Settings, function: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Calls a function of `torch_timing` in a process of its own; {"unavailable": why} where it cannot run."""
    for package in ("torch", "pythae") if function == "train_pythae" else ("torch",):
        if importlib.util.find_spec(package) is None:
            return {"unavailable": f"{package} is not installed: pip install -e '.[benchmark]'"}
    sizes = {name: getattr(settings.sizes, name) for name in ("hidden", "latent_dim", "num_components")}
    return call_in_child(f"torch_timing:{function}", sizes | {"num_pixels": 784} | arguments, TORCH_ENVIRONMENT)


def _training_table(settings: Settings, measured: dict[str, Any]) -> Table:
    steps = paper.EPOCH_IMAGES / settings.batch_size
    rows, reasons = [], []
    for name, ours in measured["ours"].items():
        seconds = ours["seconds_per_epoch"]
        share = f"{ours['fraction_of_peak']:.2f} of peak"
        rows.append([f"{name}: vaepriors_jax", format_seconds(seconds), share, f"{PEAK_TARGETS[name]}"])
        labels = {"eager": "PyTorch", "loader": "PyTorch, with DataLoader", "compiled": "PyTorch, torch.compile"}
        for key, label in labels.items():
            theirs = measured["others"][name].get(key)
            theirs = theirs and theirs * steps
            target = f"{TARGETS[name]}x" if key == "eager" else "–"
            rows.append([f"{name}: {label}", format_seconds(theirs), format_ratio(theirs, seconds), target])
    theirs = measured["others"]["pythae"].get("eager")
    theirs = theirs and theirs * steps
    fast = measured["ours"]["vamp"]["seconds_per_epoch"]
    target = f"{TARGETS['pythae']}x"
    rows.append(["vamp: pythae's VAMP", format_seconds(theirs), format_ratio(theirs, fast), target])
    for name, times in measured["others"].items():
        reason = times.get("unavailable") or times.get("compile_error")
        reasons += [f"Not available: {name}: {reason}"] if reason else []
    title = f"an epoch of 50,000 images, batch {settings.batch_size}, K = {settings.sizes.num_components}"
    peak = measured["peak_operations_per_second"] / 1e9
    notes = [
        f"{measured['data']}. Ours: `vp.fit`, median of {settings.num_epochs} epochs of {settings.num_images:,} "
        "images. PyTorch: the original's structure; same network, data, batch and Adam; median of "
        f"{settings.torch_blocks} blocks of {settings.torch_steps} steps, batches cut from one tensor. pythae: the "
        "same loop, its trainer not counted. Both with a short spin of their threads (GOMP_SPINCOUNT).",
        f"Peak: {peak:.0f} GFLOP/s in large float32 products in the same run.",
        *reasons,
    ]
    return Table(title, ["", "time", "ours is faster by", "target"], rows, notes)


def _likelihood_table(settings: Settings, measured: dict[str, Any]) -> Table:
    rows = []
    for name, ours in measured["ours"].items():
        fast = ours["log_marginal_seconds_per_image"]
        slow = measured["others"][f"{name} log p(x)"].get("seconds")
        target = f"{LIKELIHOOD_TARGETS[name]:.0f}x"
        rows.append([name, format_seconds(fast), format_seconds(slow), format_ratio(slow, fast), target])
    sizes, peak = settings.sizes, measured["peak_operations_per_second"]
    operations = 2.0 * settings.num_samples * paper.gated_products(sizes.latent_dim, sizes.hidden, 784)
    notes = [
        "As the original does it, PyTorch encodes the image and all pseudo-inputs again for each 100 samples. "
        f"Compilation apart; PyTorch without gradients. The decoder's products of {settings.num_samples:,} samples, "
        f"{operations / 1e9:.1f} GFLOP, take {format_seconds(operations / peak)} at the peak of the table above."
    ]
    title = f"log p(x) of one image, S = {settings.num_samples}"
    return Table(title, ["prior", "vaepriors_jax", "PyTorch", "ratio", "target"], rows, notes)
