"""Data of many kinds, given to `fit` and to starts from data."""

from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp
from tests.fuzz.case import Case, stop
from tests.fuzz.odd import choose

KEY, N, WIDTH = jax.random.key(0), 20, 6


def encode(params: Any, x: jax.Array, **context: Any) -> Any:
    return vp.normal_diag(params @ x, jnp.ones(2))


def decode(params: Any, z: jax.Array, **context: Any) -> Any:
    return vp.bernoulli(params @ z)


PRIORS = {"standard_normal": vp.standard_normal(2), "conditional_normal": vp.conditional_normal(2, num_classes=3)}

GOOD = {
    "float32": lambda x: x.astype(np.float32),
    "float64": lambda x: x.astype(np.float64),
    "float16": lambda x: x.astype(np.float16),
    "uint8": lambda x: x.astype(np.uint8),
    "int64": lambda x: x.astype(np.int64),
    "bool": lambda x: x.astype(bool),
    "jax": lambda x: jnp.asarray(x),
    "bfloat16": lambda x: jnp.asarray(x, jnp.bfloat16),
    "rows": lambda x: list(x.astype(np.float32)),
    "lists": lambda x: x.astype(float).tolist(),
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2].astype(np.float32),
}


def put(value: float) -> Any:
    def change(x: np.ndarray) -> np.ndarray:
        x = x.astype(np.float64)
        x.flat[7] = value
        return x

    return change


BAD = {
    **{f"one {value}": put(value) for value in (np.nan, np.inf, -np.inf, 0.5, 2.0, -1.0, 1e300)},
    "int beyond 32 bits": lambda x: x.astype(np.int64) + 2**40,
    "object": lambda x: x.astype(object),
    "text": lambda x: x.astype(str),
    "bytes": lambda x: x.astype("S4"),
    "dates": lambda x: x.astype("datetime64[s]"),
    "complex": lambda x: x.astype(complex),
    "big-endian": lambda x: x.astype(">f4"),
    "fields": lambda x: x.astype(np.uint8).view([("value", np.uint8)]),
    "none of them": lambda x: x[:0],
    "one axis": lambda x: x[:, 0],
    "three axes": lambda x: x[..., None],
    "another width": lambda x: x[:, :5],
    "one number": lambda x: np.float32(1),
    "a tuple": lambda x: (x, x),
    "a generator": lambda x: (row for row in x),
    "a set": lambda x: {1, 2},
    "a range": lambda x: range(N),
    "ragged": lambda x: [[1.0], [1.0, 0.0]],
    "None": lambda x: None,
    "a dict": lambda x: {"x": x},
    "a string": lambda x: "nonsense",
    "masked": lambda x: np.ma.masked_array(x, mask=x > 0),
    "memory": lambda x: memoryview(b"nonsense"),
}
BAD_LABELS = {
    "too large": lambda y: y + 1,
    "negative": lambda y: y - 1,
    "floats": lambda y: y * 1.0,
    "few": lambda y: y[:-1],
    "one-hot": lambda y: np.eye(3)[y],
    "text": lambda y: y.astype(str),
    "missing": None,
    "None": lambda y: None,
}


def fit(data: Any, prior: vp.Prior, **options: Any) -> Any:
    """`fit` up to its first epoch."""
    vae = vp.VAE(encode, decode, prior)
    params = vp.VAEParams(jnp.ones((2, WIDTH)), jnp.ones((WIDTH, 2)), prior.init(KEY))
    arguments = {"num_epochs": 1, "batch_size": 10, "progress": False, **options}
    with mock.patch("vaepriors_jax.training.fit.epoch_program", stop):
        return vp.fit(vae, params, KEY, data, optax.adam(1e-3), **arguments)


OPTIONS: dict[str, tuple[Any, ...]] = {
    "num_epochs": (0, -1, 1.5, "3", None, True),
    "batch_size": (0, -1, 1.5, "3", None, 21, 10**30),
    "patience": (0, -1, 1.5, "3", 3),
    "objective": (None, 0.5, {}, "elbo"),
    "hyperparameters": (3, [1], {"learning_rate": 1e-3}, {"learning_rate": "x"}),
    "transform": (3, "binarize", lambda key, batch: None, lambda key, batch: {}),
    "validation": ({}, [], {"x": None}, {"x": np.ones((3, 5))}),
    "mesh": (3, "all", []),
    "checkpoints": (3, [], {}),
}


def make(rng: np.random.Generator, folder: Path) -> Case:
    what = choose(rng, ["good", "x", "y", "option", "data", "start"])
    if what == "start":
        return start(rng)
    prior = choose(rng, list(PRIORS))
    x, y = rng.integers(0, 2, (N, WIDTH)), np.arange(N) % 3
    kind = choose(rng, list(BAD if what == "x" else GOOD))
    data: Any = {"x": (BAD if what == "x" else GOOD)[kind](x)} | ({"y": y} if prior == "conditional_normal" else {})
    options, text = {}, f"{what}: {kind}"
    if what == "y":
        prior, kind = "conditional_normal", choose(rng, list(BAD_LABELS))
        change, text = BAD_LABELS[kind], f"y: {kind}"
        data = {"x": data["x"]} | ({} if change is None else {"y": change(y)})
    elif what == "option":
        name = choose(rng, list(OPTIONS))
        options[name] = choose(rng, OPTIONS[name])
        text = f"option: {options}"
    elif what == "data":
        data = choose(rng, [None, [], 3, "x", x, {"images": x}, {"x": x, 3: x}, {}, (x, y), {"x": x, "w": None}])
        text = f"data: {type(data).__name__}"
    return Case(lambda: fit(data, PRIORS[prior], **options), what != "good", f"fit with {prior}, {text}")


def start(rng: np.random.Generator) -> Case:
    """A start of a mixture from encodings, or of a VampPrior from images."""
    prior, name, width = choose(rng, [(vp.mixture(2, 3), "z", 2), (vp.vamp(3, (WIDTH,)), "x", WIDTH)])
    rows = rng.random((N, width))
    bad = {kind: change for kind, change in BAD.items() if kind not in ("one 0.5", "one 2.0", "one -1.0", "one 1e+300")}
    bad.pop("int beyond 32 bits")
    kind, nonsense = choose(rng, list(bad)), True
    if rng.random() < 0.3:
        kind, nonsense = choose(rng, ["float32", "float64", "jax", "lists"]), False
    value = (bad if nonsense else GOOD)[kind](rows)
    return Case(lambda: vp.init_from_data(prior, KEY, **{name: value}), nonsense, f"{prior!r} from {name}: {kind}")
