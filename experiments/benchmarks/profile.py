"""What does each piece of a training step cost? Times a compiled scan of steps with it and without it."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import vaepriors_jax as vp
from experiments.benchmarks import paper
from experiments.benchmarks.common import Part, medians
from experiments.models.vaes import Sizes, make_vae
from experiments.report.document import Table
from vaepriors_jax.training.state import TrainState
from vaepriors_jax.training.step import update

PIECES = {
    "as fit runs it": "all",
    "finite check": "without",
    "Adam": "plain descent instead",
    "shuffling": "always the same batch instead",
    "a key and noise for each example": "the same noise for all instead",
    "binarisation": "added",
    "matrix products": "nothing but these, forward and backward",
}


class Settings(NamedTuple):
    """Sizes, and how long each is measured."""

    sizes: Sizes = paper.SIZES
    batch_size: int = 100
    num_images: int = paper.EPOCH_IMAGES
    num_steps: int = 50
    repeats: int = 5


SMALL = Settings(sizes=paper.SMALL_SIZES, num_images=200, batch_size=20, num_steps=2, repeats=1)


def _plain_update(
    vae: vp.VAE, optimizer: Any, state: TrainState, key: jax.Array, batch: dict[str, jax.Array], one_key: bool = False
) -> TrainState:
    """`training.update` without the check, and with one key for all examples if asked."""
    key = jax.random.fold_in(key, state.step)
    keys = key if one_key else jax.random.split(key, len(batch["x"]))

    def loss(params: vp.VAEParams) -> jax.Array:
        def objective(key: jax.Array, x: jax.Array) -> jax.Array:
            return vp.elbo(vae, params, key, x).objective

        return -jnp.mean(jax.vmap(objective, in_axes=(None if one_key else 0, 0))(keys, batch["x"]))

    updates, opt_state = optimizer.update(jax.grad(loss)(state.params), state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state._replace(step=state.step + 1, params=params, opt_state=opt_state)


def _scan(body: Callable[..., TrainState], start: TrainState, rows: jax.Array, x: jax.Array) -> Callable[[], Any]:
    """A compiled scan of steps over rows [steps, batch] of the data."""

    @jax.jit
    def scanned(state: TrainState, key: jax.Array, rows: jax.Array, x: jax.Array) -> TrainState:
        return jax.lax.scan(lambda state, row: (body(state, key, row, x), None), state, rows)[0]

    return lambda: scanned(start, jax.random.key(1), rows, x)


def _layers(name: str, settings: Settings) -> list[tuple[int, int, int]]:
    """Examples, inputs and outputs of the matrix product of each layer; a gated layer has twice its width."""
    sizes = settings.sizes
    layers = []
    for widths in ((784, *sizes.hidden, 2 * sizes.latent_dim), (sizes.latent_dim, *sizes.hidden, 784)):
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            layers.append((inputs, outputs * (2 if i < len(sizes.hidden) else 1)))
    products = [(settings.batch_size, *layer) for layer in layers]
    if name == "vamp":  # the encoder sees the pseudo-inputs too, in products of its own
        products += [(sizes.num_components, *layer) for layer in layers[: len(sizes.hidden) + 1]]
    return products


def _products(name: str, settings: Settings) -> Callable[[], Any]:
    """The matrix products of the networks alone, for as many steps: three of each layer."""
    layers = _layers(name, settings)
    keys = iter(jax.random.split(jax.random.key(0), 3 * len(layers)))
    arrays = []
    for examples, inputs, outputs in layers:
        shapes = ((examples, inputs), (inputs, outputs), (examples, outputs))
        arrays.append(tuple(jax.random.normal(next(keys), shape) for shape in shapes))

    @jax.jit
    def scanned(arrays: Any, steps: jax.Array) -> jax.Array:
        def step(total: jax.Array, scale: jax.Array) -> tuple[jax.Array, None]:
            for i, (inputs, weight, cotangent) in enumerate(arrays):
                inputs, cotangent = inputs + total, cotangent + total  # or the compiler would lift them out of the loop
                products = [inputs @ weight, inputs.T @ cotangent]
                if i > 0:  # the data need no gradient
                    products.append(cotangent @ weight.T)
                total = total + scale * sum(jnp.vdot(product, product) for product in products)
            return total, None

        return jax.lax.scan(step, jnp.zeros(()), steps)[0]

    return lambda: scanned(arrays, jnp.zeros(settings.num_steps))


def profile(name: str, settings: Settings, data: Any) -> dict[str, float]:
    """Median seconds of a step for each piece."""
    vae, init = make_vae(name, settings.sizes, data)
    adam, descent = optax.adam(paper.LEARNING_RATE), optax.sgd(1e-6)
    start = vp.init_train_state(init(jax.random.key(0)), adam)
    start_descent = vp.init_train_state(start.params, descent)
    x = jnp.asarray(data.train["x"])
    order = jax.random.permutation(jax.random.key(2), len(x))[: settings.num_steps * settings.batch_size]
    rows = order.reshape(settings.num_steps, settings.batch_size)
    bodies: dict[str, Callable[..., TrainState]] = {
        "as fit runs it": lambda s, key, row, x: update(vae, adam, s, key, {"x": x[row]})[0],
        "binarisation": lambda s, key, row, x: update(vae, adam, s, key, {"x": x[row]}, transform=vp.binarize)[0],
        "finite check": lambda s, key, row, x: _plain_update(vae, adam, s, key, {"x": x[row]}),
        "shuffling": lambda s, key, row, x: _plain_update(vae, adam, s, key, {"x": x[: settings.batch_size]}),
        "a key and noise for each example": lambda s, key, row, x: _plain_update(
            vae, adam, s, key, {"x": x[row]}, one_key=True
        ),
        "Adam": lambda s, key, row, x: _plain_update(vae, descent, s, key, {"x": x[row]}),
    }
    calls = {piece: _scan(body, start_descent if piece == "Adam" else start, rows, x) for piece, body in bodies.items()}
    calls["matrix products"] = _products(name, settings)
    return {piece: value / settings.num_steps for piece, value in medians(calls, settings.repeats, warmup=1).items()}


def tabulate(costs: dict[str, dict[str, float]], note: str) -> Table:
    """The costs, in time and as a share of the whole step."""
    rows = []
    for piece, how in PIECES.items():
        cells = []
        for seconds in costs.values():
            whole, value = seconds["as fit runs it"], seconds[piece]
            if piece in ("as fit runs it", "matrix products"):
                cells.append(f"{1e3 * value:.2f} ms ({100 * value / whole:.0f} %)")
                continue
            # The check is left out of the whole step, and the other pieces out of what remains then.
            least = {"binarisation": whole, "finite check": value}.get(piece, value)
            most = {"binarisation": value, "finite check": whole}.get(piece, seconds["finite check"])
            cells.append(f"{1e3 * (most - least):+.2f} ms ({100 * (most - least) / whole:+.0f} %)")
        rows.append([piece, how, *cells])
    return Table("the cost of each piece of a training step", ["piece", "how", *costs], rows, [note])


def run(settings: Settings) -> Part:
    """Takes the training step apart for N(0, I) and the VampPrior."""
    data = paper.load_images(settings.num_images, 1)
    costs = {name: profile(name, settings, data) for name in ("standard", "vamp")}
    note = (
        f"{data.name}, batch {settings.batch_size}: median of {settings.repeats} scans of {settings.num_steps} steps. "
        "A cost is the difference of two programs, each compiled as a whole: small ones are within the noise."
    )
    return Part([tabulate(costs, note)], {"seconds_per_step": costs, "data": data.name})
