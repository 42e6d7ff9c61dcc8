"""Encodings of exemplars: the means of the encoder's q(z|x) at training examples."""

from collections.abc import Callable
from typing import Any

import distrax
import jax

from vaepriors_jax.distributions.conversion import as_latent_distribution
from vaepriors_jax.distributions.posterior_mixture import moments
from vaepriors_jax.loops import map_chunks

Encode = Callable[..., distrax.Distribution]

ENCODED_AT_ONCE = 1000


def rows(inputs: Any, places: jax.Array) -> Any:
    """Some exemplars, or one, with what the encoder reads beside them."""
    return jax.tree.map(lambda leaf: leaf[places], inputs)


def mean_by(encode: Encode) -> Callable[..., jax.Array]:
    """The mean [dim] of the encoder's q(z|x), as a function of x and of what the encoder reads beside it."""
    return lambda x, beside=None: moments(as_latent_distribution(encode(x, **(beside or {}))))[0]


def encode_all(encode: Encode, inputs: tuple[jax.Array, dict[str, Any]], dim: int) -> jax.Array:
    """The means [N, dim] of the encoder's q(z|x) at all exemplars, with what it reads beside them."""
    mean_of = mean_by(encode)
    try:
        means = map_chunks(lambda one: mean_of(*one), inputs, ENCODED_AT_ONCE)
    except Exception as error:
        error.add_note(
            f"The encoder was given an exemplar of an `exemplar` prior, from an array of shape {inputs[0].shape}. Pass "
            "examples of the data as exemplars. An encoder that reads the condition needs `num_classes` or "
            "`condition_dim` in the prior, and `encoder_reads_condition=True`."
        )
        raise
    if means.shape[1:] != (dim,):
        raise ValueError(f"Expected an encoder of x into z of dim={dim}; its mean has the shape {means.shape[1:]}.")
    return means
