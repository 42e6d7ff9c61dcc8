"""Inputs of a classifier of latents: standardised z, and log-distances to the nearest training samples."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.loops import map_chunks

# Standardised inputs beyond this are clipped: the square of an outlier would decide the logit by itself.
_LARGEST_INPUT = 10.0
# Distances that are in memory at a time: 32 MiB of float32.
_CHUNK_ENTRIES = 2**23


class Inputs(NamedTuple):
    """Standardised z [N, dim], and log-distances [N, 2] to the nearest training samples of q and of p, or [N, 0]."""

    z: jax.Array
    log_distances: jax.Array


class InputScaling(NamedTuple):
    """The inputs of both training sets, and the function that computes those of other samples."""

    q: Inputs
    p: Inputs
    inputs_of: Callable[[jax.Array], Inputs]


def scale_inputs(q: jax.Array, p: jax.Array, *, distances: bool) -> InputScaling:
    """Standardises by the mean and the variance of both training sets, which count alike.

    Args:
        q: training samples [N, dim] of q.
        p: training samples [M, dim] of p.
        distances: whether the log-distances are computed.
    """
    centre, scale = _centre_and_scale(q, p)
    reference = _standardise(q, centre, scale), _standardise(p, centre, scale)
    raw = partial(_raw_inputs, reference=reference, centre=centre, scale=scale, distances=distances)
    raw_q, raw_p = raw(q, own="q"), raw(p, own="p")
    shift, spread = _mean_and_spread(raw_q.log_distances, raw_p.log_distances)

    def finish(inputs: Inputs) -> Inputs:
        return inputs._replace(log_distances=_clip(_standardise(inputs.log_distances, shift, spread)))

    def inputs_of(z: jax.Array) -> Inputs:
        return finish(raw(z, own=""))

    return InputScaling(finish(raw_q), finish(raw_p), inputs_of)


@jax.jit
def _centre_and_scale(q: jax.Array, p: jax.Array) -> tuple[jax.Array, jax.Array]:
    means, variances = [jnp.mean(a, axis=0) for a in (q, p)], [jnp.var(a, axis=0) for a in (q, p)]
    scale = jnp.sqrt(0.5 * (variances[0] + variances[1]) + 0.25 * (means[0] - means[1]) ** 2)
    return 0.5 * (means[0] + means[1]), jnp.where(scale > 0, scale, 1.0)


@jax.jit
def _mean_and_spread(*parts: jax.Array) -> tuple[jax.Array, jax.Array]:
    both = jnp.concatenate(parts)
    spread = jnp.std(both, axis=0)
    return jnp.mean(both, axis=0), jnp.where(spread > 0, spread, 1.0)


@jax.jit
def _standardise(values: jax.Array, centre: jax.Array, scale: jax.Array) -> jax.Array:
    return (values - centre) / scale


def _clip(standardised: jax.Array) -> jax.Array:
    return jnp.clip(standardised, -_LARGEST_INPUT, _LARGEST_INPUT)


@partial(jax.jit, static_argnames=("distances", "own"))
def _raw_inputs(
    z: jax.Array,
    reference: tuple[jax.Array, jax.Array],
    centre: jax.Array,
    scale: jax.Array,
    *,
    distances: bool,
    own: str,
) -> Inputs:
    """The inputs with log-distances not yet standardised; z are the training samples of `own`, "q" or "p", or new."""
    standardised = _standardise(z, centre, scale)
    columns = [
        _log_distances(standardised, other, own=own == name)
        for name, other in zip("qp", reference, strict=True)
        if distances
    ]
    return Inputs(
        _clip(standardised),
        jnp.stack(columns, axis=-1) if columns else jnp.zeros((len(z), 0), z.dtype),
    )


def _log_distances(z: jax.Array, reference: jax.Array, *, own: bool) -> jax.Array:
    """Log squared distance [N] to the nearest of `reference`; if z is `own`, no point is its own neighbour."""

    def nearest_squared(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        point, row = inputs
        squared = squares - 2 * jnp.matmul(reference, point, precision=jax.lax.Precision.HIGHEST)
        if own:
            squared = squared.at[row].set(jnp.inf)
        # From the difference, since the product loses digits for near points.
        return jnp.sum((point - reference[jnp.argmin(squared)]) ** 2)

    squares = jnp.sum(reference**2, axis=1)
    rows = max(1, min(len(z), _CHUNK_ENTRIES // len(reference)))
    nearest = map_chunks(nearest_squared, (z, jnp.arange(len(z))), rows)
    return jnp.log(nearest + 1e-8 * z.shape[1])
