"""Configurations of priors with something changed, and priors made of those that are accepted."""

import inspect
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments.options.stored import has_type
from tests.fuzz.case import Case
from tests.fuzz.odd import VALUES, choose, places, replaced
from vaepriors_jax.base import Config
from vaepriors_jax.factories import find_factory

NORMAL = vp.standard_normal(3)
PRIORS = (
    NORMAL,
    vp.mixture(3, 4, initial_spread=2.0),
    vp.mixture(3, 4, covariance="full", weights="uniform"),
    vp.vamp(4, (6,), weights="learned", initial_mean=0.3),
    vp.vamp(6, (2, 3), num_classes=3, bounds=None),
    vp.conditional_normal(3, num_classes=3),
    vp.conditional_mixture(3, 2, num_classes=3),
    vp.marginalize(vp.conditional_normal(3, num_classes=3), (0.2, 0.3, 0.5)),
    vp.two_level(vp.mixture(3, 4), 3, 2, hidden=(8,)),
    vp.stop_gradient(vp.mixture(3, 4)),
    vp.transformed(NORMAL, vp.repeat(vp.chain(vp.affine_coupling(3, hidden=(8,)), vp.permute(3, (1, 2, 0))), 2)),
    vp.transformed(vp.mixture(3, 4), vp.invert(vp.masked_autoregressive(3, hidden=(8,), num_classes=3))),
    vp.transformed(NORMAL, vp.spline_coupling(3, num_bins=4, bound=3.0, hidden=(8, 8))),
)
CONFIGS = tuple(vp.plain_config(prior) for prior in PRIORS)


def is_nonsense(config: Config, path: tuple[Any, ...], new: Any) -> bool:
    """Whether a value is of another type than its factory's argument, or a number of things below one."""
    *parents, name = path
    for parent in parents:
        config = config[parent]
    if not isinstance(config, dict) or name in ("factory", "*"):
        return name == "factory" and not isinstance(new, str)
    hint = inspect.signature(find_factory(config["factory"])).parameters[name].annotation
    if hint in (vp.Prior, vp.Flow):
        return not isinstance(new, dict)
    counts = hint is int or int in get_args(hint)
    if counts and type(new) is int:
        return new < 1
    if type(new) is int and get_args(hint)[:1] == (int,):
        return new < 1  # one number stands for a shape of one
    return not has_type(new, hint)


def encode(x: jax.Array, **context: Any) -> Any:
    return vp.normal_diag(jnp.ravel(x)[:3], jnp.ones(3))


def make_and_use(config: Any) -> None:
    """Makes the prior, and traces a sample and its density."""
    prior = vp.prior_from_config(config)

    def use(key: jax.Array) -> jax.Array:
        return prior.apply(prior.init(key), encode=encode, y=1).sample_and_log_prob(seed=key)[1]

    jax.eval_shape(use, jax.random.key(0))


def make(rng: np.random.Generator, folder: Path) -> Case:
    config = choose(rng, CONFIGS)
    path = choose(rng, list(places(config)))
    kind, nonsense = choose(rng, ["as it is", "value", "value", "value", "removed", "added", "deep", "large"]), False
    if kind == "value":
        new = choose(rng, VALUES)
        config, nonsense = replaced(config, path, new), is_nonsense(config, path, new)
    elif kind == "removed":
        config = {name: value for name, value in config.items() if name != path[0]}
    elif kind == "added":
        config, nonsense = {**config, choose(rng, ["colour", "", "self", 3, None]): choose(rng, VALUES)}, True
    elif kind == "deep":
        for _ in range(int(rng.choice([20, 100, 3000]))):
            config = {"factory": "stop_gradient", "prior": config}
        nonsense = True
    elif kind == "large":
        new = int(rng.choice([10**7, 10**9, 10**18]))
        config, nonsense = replaced(config, path, new), type(_at(config, path)) is int
    return Case(lambda: make_and_use(config), nonsense, f"{kind}: {str(config)[:500] if kind != 'deep' else path}")


def _at(config: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        config = config[name]
    return config
