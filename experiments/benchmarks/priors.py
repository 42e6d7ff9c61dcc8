"""What does each prior cost: the time of a training step against N(0, I), and the memory that it takes?"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import vaepriors_jax as vp
from experiments.benchmarks import paper
from experiments.benchmarks.common import Part, format_seconds, medians
from experiments.data.dataset import Dataset
from experiments.models.families import all_names
from experiments.models.trained import training_data
from experiments.models.vaes import Sizes, make_vae
from experiments.report.document import Table

STANDARD = "standard"
MIB = 2**20


class Settings(NamedTuple):
    """Sizes, how many steps are measured, and of which priors; None for all."""

    sizes: Sizes = paper.SIZES
    batch_size: int = 100
    num_images: int = paper.EPOCH_IMAGES  # those of an exemplar prior
    repeats: int = 15
    priors: tuple[str, ...] | None = None


SMALL = Settings(paper.SMALL_SIZES, 10, 100, 2, (STANDARD, "vamp", "conditional"))


class Step(NamedTuple):
    """A compiled training step: a call of it, and the memory for what it computes on the way, in bytes."""

    call: Callable[[], Any]
    temporary_bytes: int


def compile_step(name: str, settings: Settings, data: Dataset) -> Step:
    """The training step of one prior, on one batch."""
    vae, init = make_vae(name, settings.sizes, data)
    optimizer, key = optax.adam(paper.LEARNING_RATE), jax.random.key(0)
    state = vp.init_train_state(init(key), optimizer)
    batch = {name: jnp.asarray(of[: settings.batch_size]) for name, of in training_data(vae, data).items()}
    compiled = vp.make_train_step(vae, optimizer).lower(state, key, batch).compile()

    # The state is donated, so that each call goes on from the last one.
    def call() -> Any:
        nonlocal state
        state, terms = compiled(state, key, batch)
        return terms

    return Step(call, compiled.memory_analysis().temp_size_in_bytes)


def run(settings: Settings) -> Part:
    """Times the step of each prior in turn with that of N(0, I)."""
    data = paper.load_images(settings.num_images, 10)
    names = settings.priors or all_names(settings.sizes, data)
    standard = compile_step(STANDARD, settings, data)
    measured: dict[str, dict[str, float]] = {}
    for name in names:
        step = standard if name == STANDARD else compile_step(name, settings, data)
        seconds = medians({STANDARD: standard.call, name: step.call}, settings.repeats)
        measured[name] = {
            "seconds": seconds[name],
            "ratio": seconds[name] / seconds[STANDARD],
            "temporary_mebibytes": step.temporary_bytes / MIB,
        }
        jax.clear_caches()
    rows = [
        [name, format_seconds(of["seconds"]), f"{of['ratio']:.2f}x", f"{of['temporary_mebibytes']:.0f}"]
        for name, of in measured.items()
    ]
    sizes = settings.sizes
    notes = [
        f"Batches of {settings.batch_size} of the {len(data.train['x']):,} images of {data.name}, {sizes.latent_dim} "
        f"latents, K = {sizes.num_components} components, flows of {sizes.flow_layers} layers with {sizes.flow_hidden} "
        "hidden units. "
        "Ratio: medians of steps that take turns with those of N(0, I). Memory: what the compiled step allocates "
        "beside its parameters, the optimiser's state and the batch."
    ]
    return Part(
        [Table("cost of a training step", ["prior", "a step", "against N(0, I)", "MiB"], rows, notes)], measured
    )
