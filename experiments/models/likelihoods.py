"""The likelihoods p(x|z) of a decoder: how many raw outputs each pixel has, and their distribution."""

import math
from collections.abc import Callable
from typing import NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments.data.dataset import Dataset

# A learned scale stays above half a level of 256: where pixels never change, a density would grow without bound.
LEAST_SCALE = 1 / 510


class Likelihood(NamedTuple):
    """A likelihood by name, and its parameters.

    Attributes:
        name: a key of `KINDS`.
        num_levels: levels L of the data, for those that have levels.
        components: number of logistics in `discretized_logistic_mixture`.
        scale: the standard deviation of `gaussian`.
        channels: the axes of an image behind height and width: (3,) in colour, () in grey.
    """

    name: str = "bernoulli"
    num_levels: int = 2
    components: int = 5
    scale: float = 0.1
    channels: tuple[int, ...] = ()

    @property
    def is_coupled(self) -> bool:
        """Whether the channels of a pixel depend on each other."""
        return self.name == "discretized_logistic_mixture" and bool(self.channels)

    @property
    def num_outputs(self) -> int:
        """Raw numbers that the decoder gives for each pixel, all channels together."""
        if self.is_coupled:
            return self.components * sum(_sizes_of_component(*self.channels))
        return math.prod(self.channels) * KINDS[self.name].num_outputs(self)

    @property
    def has_shared(self) -> bool:
        """Whether it learns a number that all pixels share."""
        return KINDS[self.name].has_shared

    def distribution(self, raw: jax.Array, shared: jax.Array) -> distrax.Distribution:
        """p(x|z) over an image, from raw outputs [height, width, num_outputs] and the number that all pixels share."""
        if self.is_coupled:
            return _coupled_mixture(self, raw)
        raw = raw.reshape(*raw.shape[:-1], *self.channels, -1)
        return KINDS[self.name].distribution(self, raw, shared)


class Kind(NamedTuple):
    """The data that a likelihood is for ("binary", "levels" or "density"), and its distribution.

    `num_outputs` counts the raw outputs of each value, a pixel or a channel of one.
    """

    data: str
    num_outputs: Callable[[Likelihood], int]
    distribution: Callable[[Likelihood, jax.Array, jax.Array], distrax.Distribution]
    has_shared: bool = False


def _scale(raw: jax.Array) -> jax.Array:
    """A scale from any number; about 0.13 at 0."""
    return LEAST_SCALE + jax.nn.softplus(raw - 2)


def _around_middle(raw: jax.Array) -> jax.Array:
    """A location that may lie outside [0, 1], where the first and the last level have all the mass."""
    return 0.5 + 0.25 * raw


def _mixture(of: Likelihood, raw: jax.Array, shared: jax.Array) -> distrax.Distribution:
    del shared
    logits, loc, scale = jnp.split(raw, 3, axis=-1)
    return vp.discretized_logistic_mixture(logits, _around_middle(loc), _scale(scale), of.num_levels)


def _sizes_of_component(num_channels: int) -> tuple[int, int, int, int]:
    """Raw outputs of one component of a coupled mixture: weight, locations, scales, coefficients."""
    return 1, num_channels, num_channels, num_channels * (num_channels - 1) // 2


def _coupled_mixture(of: Likelihood, raw: jax.Array) -> distrax.Distribution:
    parts = raw.reshape(*raw.shape[:-1], -1, of.components)
    ends = np.cumsum(_sizes_of_component(*of.channels))[:-1]
    logits, loc, scale, coefficients = jnp.split(parts, ends, axis=-2)
    return vp.discretized_logistic_mixture(
        logits[..., 0, :], _around_middle(loc), _scale(scale), of.num_levels, coefficients=jnp.tanh(coefficients)
    )


def _gaussian(
    scale: Callable[[Likelihood, jax.Array, jax.Array], jax.Array],
) -> Callable[[Likelihood, jax.Array, jax.Array], distrax.Distribution]:
    return lambda of, raw, shared: vp.normal_diag(jax.nn.sigmoid(raw[..., 0]), scale(of, raw, shared))


def _student_t(of: Likelihood, raw: jax.Array, shared: jax.Array) -> distrax.Distribution:
    del of
    return vp.student_t(1 + jax.nn.softplus(shared + 2), jax.nn.sigmoid(raw[..., 0]), _scale(raw[..., 1]))


KINDS = {
    "bernoulli": Kind("binary", lambda of: 1, lambda of, raw, shared: vp.bernoulli(raw[..., 0])),
    "discretized_logistic": Kind(
        "levels",
        lambda of: 2,
        lambda of, raw, shared: vp.discretized_logistic(
            _around_middle(raw[..., 0]), _scale(raw[..., 1]), of.num_levels
        ),
    ),
    "discretized_logistic_mixture": Kind("levels", lambda of: 3 * of.components, _mixture),
    "categorical": Kind("levels", lambda of: of.num_levels, lambda of, raw, shared: vp.categorical_levels(raw)),
    "binomial": Kind(
        "levels", lambda of: 1, lambda of, raw, shared: vp.binomial_levels(raw[..., 0], num_levels=of.num_levels)
    ),
    "gaussian": Kind("density", lambda of: 1, _gaussian(lambda of, raw, shared: jnp.float32(of.scale))),
    "gaussian_shared": Kind("density", lambda of: 1, _gaussian(lambda of, raw, shared: _scale(shared)), True),
    "gaussian_pixel": Kind("density", lambda of: 2, _gaussian(lambda of, raw, shared: _scale(raw[..., 1]))),
    "student_t": Kind("density", lambda of: 2, _student_t, True),
    "continuous_bernoulli": Kind("density", lambda of: 1, lambda of, raw, shared: vp.continuous_bernoulli(raw[..., 0])),
}


def names(data: str) -> list[str]:
    """The likelihoods of one kind of data."""
    return [name for name, kind in KINDS.items() if kind.data == data]


def choose_likelihood(data: Dataset) -> str:
    """The likelihood of images for which none was named."""
    if data.num_levels == 2:
        return "bernoulli"
    return "gaussian_pixel" if data.num_levels is None else "discretized_logistic_mixture"


def is_discrete(name: str) -> bool:
    """Whether it gives probabilities of grey levels, which bits per dimension are for."""
    return KINDS[name].data == "levels"


def check_likelihood(name: str, data: Dataset) -> None:
    """Raises ValueError unless this is a likelihood of these data, and says what to use."""
    wanted = KINDS[name].data
    levels, densities = ", ".join(names("levels")), ", ".join(names("density"))
    values = "grey" if len(data.image_shape) == 2 else "colour"
    if wanted == "binary" and data.num_levels != 2:
        others = f"{levels}, {densities}" if data.num_levels else densities
        raise ValueError(
            f"Expected zeros and ones for --likelihood {name}; {data.name} has {values} values. Use --binarization "
            f"dynamic, or one of --likelihood {others}."
        )
    if wanted != "binary" and data.num_levels == 2:
        grey = "keep grey values by --binarization none, or " if data.binarization != "none" else ""
        raise ValueError(
            f"Expected grey values for --likelihood {name}; the images of {data.name} are binary here, of which it is "
            f"no likelihood: {grey}use --likelihood bernoulli."
        )
    if wanted == "levels" and data.num_levels is None:
        raise ValueError(
            f"Expected values in levels, such as those of bytes, for --likelihood {name}; those of {data.name} are any "
            f"floats. Save the images as uint8, or use one of --likelihood {densities}."
        )
