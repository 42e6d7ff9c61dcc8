"""Encoders and decoders for one example; with `num_classes` they read y.

Without a trunk they are the gated dense pair of Tomczak & Welling (2018), or the tanh layers of Bauer & Mnih (2019);
`image_networks` has trunks of convolutions.
For two levels of latents they are those of the same paper's HVAE.
"""

import math
from typing import Any, NamedTuple

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp

import vaepriors_jax as vp
from experiments.models.likelihoods import Likelihood
from experiments.models.posteriors import NORMAL, POSTERIORS

# N(0, 2 / fan_in), not truncated, as in the paper's code.
he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


class GatedDense(nn.Module):
    """A linear map times the sigmoid of another; both as one product."""

    width: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [..., inputs] to [..., width]."""
        value, gate = jnp.split(nn.Dense(2 * self.width, kernel_init=he_normal)(inputs), 2, axis=-1)
        return value * nn.sigmoid(gate)


class TanhDense(nn.Module):
    """A linear map and tanh."""

    width: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Maps [..., inputs] to [..., width]."""
        return nn.tanh(nn.Dense(self.width)(inputs))


LAYERS = {"gated": GatedDense, "tanh": TanhDense}


def dense_layers(kind: str, widths: tuple[int, ...], parts: list[jax.Array]) -> jax.Array:
    """Dense layers; the first is one layer for each part of the inputs."""
    hidden = jnp.concatenate([LAYERS[kind](widths[0])(part) for part in parts])
    for width in widths[1:]:
        hidden = LAYERS[kind](width)(hidden)
    return hidden


def _with_label(inputs: jax.Array, y: jax.Array | None, num_classes: int | None) -> jax.Array:
    """Appends the label as a one-hot vector, if the network reads one."""
    if num_classes is None:
        return inputs
    return jnp.concatenate([inputs, jax.nn.one_hot(y, num_classes, dtype=inputs.dtype)])


def _at_least_float32(raw: jax.Array) -> jax.Array:
    """Layers may compute in bfloat16, scales and densities do not."""
    return raw.astype(jnp.promote_types(raw.dtype, jnp.float32))


class Apply(NamedTuple):
    """The `apply` of a network. Equal networks give equal ones, which share compiled programs; bound methods do not."""

    network: Any

    def __call__(self, params: Any, *inputs: Any, **context: Any) -> Any:
        """Applies the network."""
        return self.network.apply(params, *inputs, **context)


class Encoder(nn.Module):
    """q(z|x), or given y, or given the latents of the level above.

    Attributes:
        latent_dim: degrees of freedom of z.
        hidden: widths of the dense layers.
        num_classes: number of labels y, if it reads one.
        trunk: what comes before the dense layers, from an image to features of any shape.
        layers: kind of the dense layers, a key of `LAYERS`.
        posterior: family of q, a key of `POSTERIORS`; by default diagonal Gaussians.
    """

    latent_dim: int
    hidden: tuple[int, ...] = (300, 300)
    num_classes: int | None = None
    trunk: nn.Module | None = None
    layers: str = "gated"
    posterior: str = NORMAL

    @nn.compact
    def __call__(
        self, x: jax.Array, y: jax.Array | None = None, above: jax.Array | None = None
    ) -> distrax.Distribution:
        """Encodes one example of any shape, given the latents [above] of the level above if there is one."""
        features = x if self.trunk is None else self.trunk(x)
        parts = [_with_label(features.reshape(-1), y, self.num_classes)] + ([] if above is None else [above])
        hidden = dense_layers(self.layers, self.hidden, parts)
        family = POSTERIORS[self.posterior]
        raw = nn.Dense(family.num_outputs(self.latent_dim), kernel_init=he_normal)(hidden)
        return family.from_outputs(_at_least_float32(raw))


class TwoLevelEncoder(NamedTuple):
    """q(z|x) = q(z2|x) q(z1|x, z2), one vector [z1, z2]; an init and an apply like those of a Linen module."""

    top: Encoder
    bottom: Encoder

    def init(self, key: jax.Array, x: jax.Array, **label: Any) -> Any:
        """Parameters of both levels."""
        key_top, key_bottom = jax.random.split(key)
        above = jnp.zeros(self.top.latent_dim)
        return {
            "top": self.top.init(key_top, x, **label),
            "bottom": self.bottom.init(key_bottom, x, above=above, **label),
        }

    def apply(self, params: Any, x: jax.Array, **label: Any) -> distrax.Distribution:
        """Encodes one example of any shape."""
        top: Any = self.top.apply(params["top"], x, **label)
        return vp.two_level_posterior(
            top,
            lambda above: self.bottom.apply(params["bottom"], x, above=above, **label),  # pyright: ignore
        )


class Decoder(nn.Module):
    """p(x|z) or p(x|z, y).

    Attributes:
        image_shape: height and width, and the number of channels of colour images.
        hidden: widths of the dense layers.
        num_classes: number of labels y, if it reads one.
        trunk: what comes after the dense layers, from a vector to the likelihood's raw outputs of each pixel.
        likelihood: makes a distribution of them.
        levels: of latents, as many to each; each has a first layer of its own.
        layers: kind of the dense layers, a key of `LAYERS`.
        posterior: family of the posterior of these latents, a key of `POSTERIORS`.
    """

    image_shape: tuple[int, ...]
    hidden: tuple[int, ...] = (300, 300)
    num_classes: int | None = None
    trunk: nn.Module | None = None
    likelihood: Likelihood = Likelihood()
    levels: int = 1
    layers: str = "gated"
    posterior: str = NORMAL

    @nn.compact
    def __call__(self, z: jax.Array, y: jax.Array | None = None) -> distrax.Distribution:
        """Decodes one z [dim]."""
        levels = jnp.split(POSTERIORS[self.posterior].coordinates(z), self.levels)
        parts = [_with_label(level, y, self.num_classes) for level in levels]
        hidden = dense_layers(self.layers, self.hidden, parts)
        if self.trunk is None:
            shape = (*self.image_shape[:2], self.likelihood.num_outputs)
            raw = nn.Dense(math.prod(shape), kernel_init=he_normal)(hidden).reshape(shape)
        else:
            raw = self.trunk(hidden)
        shared = self.param("shared", nn.initializers.zeros, ()) if self.likelihood.has_shared else jnp.zeros(())
        return self.likelihood.distribution(_at_least_float32(raw), shared)
