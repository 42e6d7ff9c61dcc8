"""Are several replicas trained faster as one program than one after another?"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

import vaepriors_jax as vp
from experiments.benchmarks import paper
from experiments.benchmarks.common import Part, format_ratio, format_seconds, medians
from experiments.data.dataset import Dataset
from experiments.models.vaes import Sizes, make_vae
from experiments.report.document import Table
from vaepriors_jax.training.state import TrainState
from vaepriors_jax.training.step import update


class Settings(NamedTuple):
    """Sizes, and the numbers of replicas."""

    sizes: Sizes = paper.SIZES
    num_images: int = 10_000
    num_epochs: int = 3
    batch_size: int = 100
    replicas: tuple[int, ...] = (1, 2, 4, 8)


SMALL = Settings(paper.SMALL_SIZES, 500, 2, replicas=(1, 2))


def _fit_seconds(name: str, settings: Settings, data: Dataset, num_replicas: int) -> float:
    """Seconds of an epoch of `vp.fit`; a lone replica is trained without the leading axis, as a user trains it."""
    return paper.seconds_with(name, settings, data, num_replicas=num_replicas if num_replicas > 1 else None)


def _mapped_seconds(name: str, settings: Settings, data: Dataset, num_replicas: int) -> float:
    """Seconds of an epoch of steps that are mapped over replicas, whatever `fit` does here."""
    vae, init = make_vae(name, settings.sizes, data)
    adam = optax.adam(paper.LEARNING_RATE)
    keys = jax.random.split(jax.random.key(0), num_replicas)
    states = jax.vmap(lambda key: vp.init_train_state(init(key), adam))(keys)
    order = jax.vmap(lambda key: jax.random.permutation(key, settings.num_images))(keys)
    num_steps = settings.num_images // settings.batch_size
    batches = order[:, : num_steps * settings.batch_size].reshape(num_replicas, num_steps, -1).swapaxes(0, 1)

    @jax.jit
    def epoch(states: TrainState, batches: jax.Array, x: jax.Array) -> TrainState:
        def step(state: TrainState, key: jax.Array, rows: jax.Array) -> TrainState:
            return update(vae, adam, state, key, {"x": x[rows]})[0]

        return jax.lax.scan(lambda states, rows: (jax.vmap(step)(states, keys, rows), None), states, batches)[0]

    x = jnp.asarray(data.train["x"][: settings.num_images])
    seconds = medians({"epoch": lambda: epoch(states, batches, x)}, settings.num_epochs, warmup=1)["epoch"]
    return seconds * paper.EPOCH_IMAGES / settings.num_images


def run(settings: Settings) -> Part:
    """Times each number of replicas."""
    data = paper.load_images(settings.num_images, 1)
    seconds_by_prior, rows = {}, []
    for name in ("standard", "vamp"):
        seconds_by_prior[name] = {
            num: {
                "fit": _fit_seconds(name, settings, data, num),
                "mapped": _mapped_seconds(name, settings, data, num),
            }
            for num in settings.replicas
        }
        alone = seconds_by_prior[name][settings.replicas[0]]["fit"] / settings.replicas[0]
        for num, seconds in seconds_by_prior[name].items():
            cells = [seconds["fit"], num * alone, seconds["mapped"]]
            ratios = [format_ratio(num * alone, seconds[how]) for how in ("fit", "mapped")]
            rows.append([name, str(num), *map(format_seconds, cells), *ratios])
    notes = [
        f"{data.name}; an epoch of 50,000 images, measured on {settings.num_images:,}, median of "
        f"{settings.num_epochs}; batch {settings.batch_size}. Mapped: steps of training under `vmap`, as `fit` does it "
        "on an accelerator; on a CPU it trains replicas one after another within its program."
    ]
    header = ["prior", "replicas", "fit", "runs one after another", "mapped", "fit is faster by", "mapped is faster by"]
    return Part([Table("replicas trained at once", header, rows, notes)], {"seconds_per_epoch": seconds_by_prior})
