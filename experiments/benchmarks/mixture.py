"""How fast are the density and the sampler of the diagonal mixture, beside `distrax.MixtureSameFamily`?"""

from functools import partial
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments.benchmarks.common import Part, format_ratio, format_seconds, medians
from experiments.report.document import Table

TARGETS = {"forward": 4, "forward and backward": 15, "sampling": 20}


class Settings(NamedTuple):
    """Sizes, and how often each call is repeated."""

    num_components: int = 500
    dim: int = 40
    batch_size: int = 100
    repeats: int = 200
    in_a_row: int = 20


SMALL = Settings(num_components=20, dim=4, batch_size=10, repeats=4, in_a_row=2)


def ours(logits: jax.Array, loc: jax.Array, scale: jax.Array) -> vp.DiagonalMixture:
    """The library's mixture."""
    return vp.DiagonalMixture(jax.nn.log_softmax(logits), loc, scale)


def theirs(logits: jax.Array, loc: jax.Array, scale: jax.Array) -> distrax.Distribution:
    """Distrax's mixture of diagonal Gaussians."""
    return distrax.MixtureSameFamily(distrax.Categorical(logits), distrax.MultivariateNormalDiag(loc, scale))


def _total(make: Any, parameters: tuple[jax.Array, ...], z: jax.Array) -> jax.Array:
    return jnp.sum(make(*parameters).log_prob(z))


def _draw(make: Any, num: int, parameters: tuple[jax.Array, ...], key: jax.Array) -> jax.Array:
    return make(*parameters).sample(seed=key, sample_shape=num)


def _inputs(settings: Settings) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Scales from e^-3 to e^1, means up to 10, and samples: where matrix products cancel most."""
    random = np.random.default_rng(0)
    shape = (settings.num_components, settings.dim)
    logits, loc = random.normal(size=shape[0]), random.uniform(-10, 10, shape)
    scale = np.exp(random.uniform(-3, 1, shape))
    chosen = random.integers(0, shape[0], settings.batch_size)
    z = loc[chosen] + scale[chosen] * random.normal(size=(settings.batch_size, settings.dim))
    return tuple(array.astype(np.float32) for array in (logits, loc, scale)), z.astype(np.float32)


def _overlapping(settings: Settings) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Groups of equal small components at +-10, each point shared by all of its group: where gradients cancel most."""
    random = np.random.default_rng(0)
    shape = (settings.num_components, settings.dim)
    centres = random.choice([-10.0, 10.0], (10, settings.dim))
    loc = centres[np.arange(shape[0]) % 10] + 0.01 * random.normal(size=shape)
    chosen = random.integers(0, shape[0], settings.batch_size)
    z = loc[chosen] + np.exp(-3) * random.normal(size=(settings.batch_size, settings.dim))
    arrays = (random.normal(size=shape[0]), loc, np.full(shape, np.exp(-3)))
    return tuple(array.astype(np.float32) for array in arrays), z.astype(np.float32)


def _reference(parameters: tuple[np.ndarray, ...], z: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Density and gradients of its sum, to z and to the parameters, in float64."""
    logits, loc, scale = (array.astype(np.float64) for array in parameters)
    z = z.astype(np.float64)
    standard = (z[:, None] - loc) / scale
    joint = logits - np.logaddexp.reduce(logits) - 0.5 * (standard**2 + np.log(2 * np.pi)).sum(-1)
    joint -= np.log(scale).sum(-1)
    density = np.logaddexp.reduce(joint, axis=-1)
    share = np.exp(joint - density[:, None])
    pull = share[..., None] * standard / scale
    to_logits = share.sum(0) - len(z) * np.exp(logits - np.logaddexp.reduce(logits))
    to_scale = (share[..., None] * (standard**2 - 1) / scale).sum(0)
    return density, -pull.sum(1), [to_logits, pull.sum(0), to_scale]


def _errors(parameters: tuple[np.ndarray, ...], z: np.ndarray) -> dict[str, dict[str, float]]:
    density, to_z, to_parameters = _reference(parameters, z)
    errors = {}
    for name, make in (("ours", ours), ("distrax", theirs)):
        values = jax.jit(lambda p, z, make=make: make(*p).log_prob(z))(parameters, z)
        gradients = jax.jit(jax.grad(partial(_total, make), argnums=(0, 1)))(parameters, z)
        pairs = zip([*gradients[0], gradients[1]], [*to_parameters, to_z], strict=True)
        errors[name] = {
            "nats": float(np.abs(np.asarray(values, np.float64) - density).max()),
            "gradient": max(float(np.abs(np.asarray(a) - b).max() / np.abs(b).max()) for a, b in pairs),
        }
    return errors


def _seconds(settings: Settings) -> dict[Any, float]:
    """Median seconds of each kind of work for ours and for Distrax, on the same arrays."""
    parameters, z = jax.tree.map(jnp.asarray, _inputs(settings))
    key = jax.random.key(0)
    compiled = {}
    for name, make in (("ours", ours), ("distrax", theirs)):
        compiled["forward", name] = partial(jax.jit(partial(_total, make)), parameters, z)
        gradient = jax.value_and_grad(partial(_total, make), argnums=(0, 1))
        compiled["forward and backward", name] = partial(jax.jit(gradient), parameters, z)
        compiled["sampling", name] = partial(jax.jit(partial(_draw, make, settings.batch_size)), parameters, key)
    seconds: dict[Any, float] = {}
    for work in TARGETS:
        calls = {name: compiled[work, name] for name in ("ours", "distrax")}
        for how, in_a_row in ((work, 1), (f"{work}, in a row", settings.in_a_row)):
            for name, median in medians(calls, settings.repeats, in_a_row=in_a_row).items():
                seconds[how, name] = median
    return seconds


def run(settings: Settings) -> Part:
    """Times both, and compares their errors."""
    seconds = _seconds(settings)
    errors = {"": _errors(*_inputs(settings)), ", overlapping groups": _errors(*_overlapping(settings))}
    rows = []
    for work, target in TARGETS.items():
        for how in (work, f"{work}, in a row"):
            fast, slow = seconds[how, "ours"], seconds[how, "distrax"]
            rows.append([how, format_seconds(fast), format_seconds(slow), format_ratio(slow, fast), f"{target}x"])
    for where, by_code in errors.items():
        nats = [by_code[name]["nats"] for name in ("ours", "distrax")]
        gradients = [by_code[name]["gradient"] for name in ("ours", "distrax")]
        rows.append([f"largest error{where}", *(f"{error:.1e} nats" for error in nats), "–", "1e-4"])
        rows.append([f"that of a gradient{where}", *(f"{error:.1e}" for error in gradients), "–", "1e-3"])
    title = f"diagonal mixture: K = {settings.num_components}, D = {settings.dim}, B = {settings.batch_size}"
    notes = [
        "Medians of compiled calls that take turns, so that each finds in the caches what the other left there; in a "
        f"row: {settings.in_a_row} of the same, as in a loop of its own. Errors against float64, with scales from e^-3 "
        "to e^1 and means up to 10; that of a gradient is relative to the array's largest entry. Overlapping groups: "
        "ten, of components at +-10 with scales of e^-3, where each point belongs to many."
    ]
    table = Table(title, ["", "DiagonalMixture", "distrax.MixtureSameFamily", "ratio", "target"], rows, notes)
    measured = {"seconds": {f"{work}, {name}": value for (work, name), value in seconds.items()}, "errors": errors}
    return Part([table], measured | settings._asdict())
