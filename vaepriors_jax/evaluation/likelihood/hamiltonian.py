"""Hamiltonian Monte Carlo transitions along the annealing path of one example, from its start to p(x, z)."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.distributions.posterior_mixture import moments
from vaepriors_jax.distributions.spaces import check_euclidean
from vaepriors_jax.objectives import log_likelihood
from vaepriors_jax.vae import VAE, VAEParams

# Step sizes vary by up to 20 %, evenly over chains and temperatures: at a fixed length, a trajectory can return to
# where it started.
SPREAD = 0.2


class AnnealingPath(NamedTuple):
    """The densities of one example from beta = 0 to 1: log f(z) = initial.log_prob(z) + beta * log_ratio(z).

    Attributes:
        initial: the distribution from which chains start.
        log_ratio: log p(x, z) minus the initial log-density.
        variance: variance of each latent [dim] under `initial`, used as the inverse mass.
    """

    initial: distrax.Distribution
    log_ratio: Callable[[jax.Array], jax.Array]
    variance: jax.Array


def annealing_path(
    vae: VAE, params: VAEParams, prior: distrax.Distribution, x: jax.Array, context: dict[str, Any], initial: str
) -> AnnealingPath:
    """The path of one example to p(x, z), from q(z|x) if `initial` is "posterior" or p(z) if it is "prior"."""
    check_euclidean("annealing, whose chains move through it", prior)
    start = prior if initial == "prior" else vae.posterior(params, x, **context)

    def log_ratio(z: jax.Array) -> jax.Array:
        log_p_x = log_likelihood(vae, params, z, x, **context)
        return log_p_x if initial == "prior" else log_p_x + prior.log_prob(z) - start.log_prob(z)

    return AnnealingPath(start, log_ratio, _variance(start))


def _variance(start: distrax.Distribution) -> jax.Array:
    """The variance of each latent [dim], or 1 where it is zero or not finite."""
    _, variance = moments(start)
    return jnp.where(jnp.isfinite(variance) & (variance > 0), variance, 1)


def _move(
    path: AnnealingPath, num_steps: int, key: jax.Array, z: jax.Array, beta: jax.Array, step_size: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One Hamiltonian transition that leaves f at `beta` invariant.

    Returns:
        The new z [dim], the log ratio at the old one, and the acceptance probability.
    """
    from blackjax.mcmc import hmc  # not at the top: the import takes a third of a second

    def log_density(z: jax.Array) -> tuple[jax.Array, jax.Array]:
        log_ratio = path.log_ratio(z)
        return path.initial.log_prob(z) + beta * log_ratio, log_ratio

    (value, log_ratio), gradient = jax.value_and_grad(log_density, has_aux=True)(z)
    state, info = hmc.build_kernel()(
        key,
        hmc.HMCState(z, value, gradient),
        lambda z: log_density(z)[0],
        step_size,
        path.variance,
        num_steps,
    )
    return state.position, log_ratio, info.acceptance_rate


def move_chains(
    path: AnnealingPath,
    num_steps: int,
    key: jax.Array,
    index: jax.Array,
    z: jax.Array,
    beta: jax.Array,
    log_step_size: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Moves all chains z [C, dim] by the transition number `index`; returns what `_move` does, with an axis [C]."""
    chains = jnp.arange(len(z), dtype=z.dtype) / len(z)
    golden_ratio = (np.sqrt(5) - 1) / 2
    evenly = jnp.mod(chains + index.astype(z.dtype) * float(golden_ratio), 1)
    step_sizes = jnp.exp(log_step_size) * (1 - SPREAD + 2 * SPREAD * evenly)
    move = partial(_move, path, num_steps)
    return jax.vmap(move, in_axes=(0, 0, None, 0))(jax.random.split(key, len(z)), z, beta, step_sizes)
