"""Annealed chains of each example, from the initial distribution to p(x, z) or back, and their weights."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_choice, check_positive, check_positive_integer
from vaepriors_jax.evaluation.likelihood.hamiltonian import AnnealingPath, annealing_path, move_chains
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.parallel.sharding import example_keys
from vaepriors_jax.trees import num_rows
from vaepriors_jax.vae import VAE, VAEParams, context_of

# The pilot run that adapts the step sizes. It takes this share of the temperatures,
PILOT_SHARE = 0.1
# but at least so many, or all if there are fewer,
PILOT_LEAST = 100
# after so many transitions at beta = 0.
PILOT_WARM_UP = 25
# The log step size changes by this times the difference between the acceptance rate and its target.
PILOT_GAIN = 0.5


class Settings(NamedTuple):
    """The options of `annealed_importance_sampling`."""

    num_chains: int
    num_temperatures: int
    num_leapfrog_steps: int
    initial: str
    target_acceptance: float
    chunk_size: int


def check_settings(settings: Settings) -> None:
    """Raises ValueError for an option out of range."""
    check_choice("initial", settings.initial, ("posterior", "prior"))
    check_positive(target_acceptance=settings.target_acceptance)
    if settings.target_acceptance >= 1:
        raise ValueError(f"Expected `target_acceptance` below 1, such as 0.65; got {settings.target_acceptance!r}.")
    numbers = settings._asdict()
    check_positive_integer(**{name: numbers[name] for name in numbers if name not in ("initial", "target_acceptance")})


class ChainWeights(NamedTuple):
    """The results of the chains of N examples.

    Attributes:
        forward: log-weights of the chains from the initial distribution to p(x, z) [N, C].
        backward: log-weights of the chains from exact posterior samples back [N, C]; None without such samples.
        acceptance_rate: mean acceptance probability [N].
    """

    forward: jax.Array
    backward: jax.Array | None
    acceptance_rate: jax.Array


def _sigmoid_schedule(num_temperatures: int) -> np.ndarray:
    """Inverse temperatures from 0 to 1 [T + 1], densest at both ends."""
    sigmoid = 1 / (1 + np.exp(-4 * np.linspace(-1, 1, num_temperatures + 1)))
    return (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])


def _adapt(path: AnnealingPath, settings: Settings, key: jax.Array, z: jax.Array) -> jax.Array:
    """Log step sizes at the inner temperatures [T - 1], adapted by stochastic approximation in a pilot run from z."""
    num_temperatures = settings.num_temperatures
    num_pilot = max(round(PILOT_SHARE * num_temperatures), min(PILOT_LEAST, num_temperatures))
    betas = jnp.concatenate([jnp.zeros(PILOT_WARM_UP), jnp.asarray(_sigmoid_schedule(num_pilot)[1:])]).astype(z.dtype)

    def step(carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        z, log_step_size = carry
        key, index, beta = inputs
        z, _, acceptance = move_chains(path, settings.num_leapfrog_steps, key, index, z, beta, log_step_size)
        log_step_size += PILOT_GAIN * (jnp.mean(acceptance) - settings.target_acceptance)
        return (z, log_step_size), log_step_size

    # For a Gaussian of unit scale, steps below 2 are stable.
    start = jnp.full((), np.log(0.5), z.dtype)
    _, adapted = jax.lax.scan(step, (z, start), (jax.random.split(key, len(betas)), jnp.arange(len(betas)), betas))
    inner = jnp.arange(1, num_temperatures, dtype=z.dtype) / num_temperatures
    pilot = jnp.arange(1, num_pilot + 1, dtype=z.dtype) / num_pilot
    return jnp.interp(inner, pilot, adapted[PILOT_WARM_UP:])


def _anneal(
    path: AnnealingPath, settings: Settings, key: jax.Array, z: jax.Array, betas: jax.Array, log_step_sizes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Anneals chains z [C, dim] from betas[0] to betas[-1]; returns log-weights [C] and the acceptance rate."""

    def step(carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        z, log_weights = carry
        key, index, previous, beta, log_step_size = inputs
        z, log_ratio, acceptance = move_chains(path, settings.num_leapfrog_steps, key, index, z, beta, log_step_size)
        return (z, log_weights + (beta - previous) * log_ratio), jnp.mean(acceptance)

    num_moves = len(betas) - 2
    inputs = (jax.random.split(key, num_moves), jnp.arange(num_moves), betas[:-2], betas[1:-1], log_step_sizes)
    (z, log_weights), acceptance = jax.lax.scan(step, (z, jnp.zeros(len(z), z.dtype)), inputs)
    return log_weights + (betas[-1] - betas[-2]) * jax.vmap(path.log_ratio)(z), jnp.mean(acceptance)


@partial(jax.jit, static_argnums=(0, 5))
def anneal_examples(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: dict[str, jax.Array],
    exact: jax.Array | None,
    settings: Settings,
    places: Any = None,
) -> ChainWeights:
    """Anneals chains forward and, where exact posterior samples [N, dim] are given, backward from these.

    A batch of a stream comes with the `places` of its examples among all [N].
    """
    context = context_of(data)
    common_prior = None if context else vae.latent_prior(params)

    def anneal_example(inputs: Any) -> ChainWeights:
        key, x, exact, context = inputs
        prior = vae.latent_prior(params, **context) if common_prior is None else common_prior
        path = annealing_path(vae, params, prior, x, context, settings.initial)
        key_start, key_adapt, key_forward, key_backward = jax.random.split(key, 4)
        z_pilot, z = jnp.split(path.initial.sample(seed=key_start, sample_shape=2 * settings.num_chains), 2)
        betas = jnp.asarray(_sigmoid_schedule(settings.num_temperatures), z.dtype)
        log_step_sizes = _adapt(path, settings, key_adapt, z_pilot)
        forward, acceptance = _anneal(path, settings, key_forward, z, betas, log_step_sizes)
        if exact is None:
            return ChainWeights(forward, None, acceptance)
        z = jnp.broadcast_to(exact, z.shape)
        backward, acceptance_back = _anneal(path, settings, key_backward, z, betas[::-1], log_step_sizes[::-1])
        return ChainWeights(forward, backward, (acceptance + acceptance_back) / 2)

    keys = example_keys(key, num_rows(data), places)
    examples_at_once = max(1, settings.chunk_size // settings.num_chains)
    return map_chunks(anneal_example, (keys, data["x"], exact, context), examples_at_once)


def log_mean_exp(log_weights: jax.Array) -> jax.Array:
    """Log of the mean weight over chains [N], from log-weights [N, C]."""
    return jax.nn.logsumexp(log_weights, axis=1) - jnp.log(log_weights.shape[1])
