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


class _Moves(NamedTuple):
    """Transitions of several runs of chains, one run after another [M].

    Attributes:
        run: the run: 0 is the pilot run, whose step sizes adapt.
        index: number of the transition in its run.
        beta: inverse temperature.
        step_size: the log step size by its number in the pilot run,
        share: and the share of the next one, between which it is interpolated.
    """

    run: jax.Array
    index: jax.Array
    beta: jax.Array
    step_size: jax.Array
    share: jax.Array


def _moves(num_temperatures: int, num_runs: int, dtype: Any) -> _Moves:
    """The pilot run, and T transitions forward and, in a third run, backward. Their last one counts for nothing.

    It stands there because a transition gives the log ratio at its beginning, which is the end of the one before.
    """
    num_pilot = max(round(PILOT_SHARE * num_temperatures), min(PILOT_LEAST, num_temperatures))
    pilot = np.concatenate([np.zeros(PILOT_WARM_UP), _sigmoid_schedule(num_pilot)[1:]])
    betas, numbers = [pilot], [np.arange(len(pilot), dtype=float)]
    for direction in (1, -1)[: num_runs - 1]:
        betas.append(_sigmoid_schedule(num_temperatures)[::direction][1:])
        pilot_steps = num_pilot * np.linspace(0, 1, num_temperatures + 1)[::direction][1:]
        numbers.append(PILOT_WARM_UP + np.maximum(pilot_steps, 1))
    run = np.repeat(np.arange(num_runs), [len(part) for part in betas])
    index = np.concatenate([np.arange(len(part)) for part in betas])
    number = np.concatenate(numbers)
    step_size = np.minimum(number.astype(int), len(pilot) - 1)
    return _Moves(
        run=jnp.asarray(run),
        index=jnp.asarray(index),
        beta=jnp.asarray(np.concatenate(betas), dtype),
        step_size=jnp.asarray(step_size),
        share=jnp.asarray(number - step_size, dtype),
    )


def _anneal(path: AnnealingPath, settings: Settings, keys: jax.Array, starts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Runs chains from `starts` [R, C, dim] one after another, in one loop whose body is compiled once.

    The first run is a pilot that adapts step sizes by stochastic approximation; then chains go forward and, if they
    have a start, backward.

    Returns:
        Log-weights of the runs after the pilot [R - 1, C], and their acceptance rate [R - 1].
    """
    num_runs, num_temperatures = len(starts), settings.num_temperatures
    moves = _moves(num_temperatures, num_runs, starts.dtype)
    num_pilot = len(moves.run) - (num_runs - 1) * num_temperatures

    def step(carry: Any, inputs: tuple[jax.Array, _Moves]) -> tuple[Any, Any]:
        z, log_step_sizes = carry
        key, move = inputs
        z = jnp.where(move.index == 0, starts[move.run], z)
        low, high = log_step_sizes[move.step_size], log_step_sizes[move.step_size + 1]
        log_step_size = low + move.share * (high - low)
        z, log_ratio, acceptance = move_chains(
            path, settings.num_leapfrog_steps, key, move.index, z, move.beta, log_step_size
        )
        rate = jnp.mean(acceptance)
        adapted = log_step_size + PILOT_GAIN * (rate - settings.target_acceptance)
        next_one = jnp.where(move.run == 0, move.index + 1, len(log_step_sizes))
        return (z, log_step_sizes.at[next_one].set(adapted, mode="drop")), (log_ratio, rate)

    # For a Gaussian of unit scale, steps below 2 are stable.
    log_step_sizes = jnp.full(num_pilot + 1, np.log(0.5), starts.dtype)
    lengths = [num_pilot, *(num_runs - 1) * [num_temperatures]]
    split = jax.vmap(partial(jax.random.split, num=max(lengths)))(keys)
    keys = jnp.concatenate([of_run[:length] for of_run, length in zip(split, lengths, strict=True)])
    _, (log_ratio, rates) = jax.lax.scan(step, (starts[0], log_step_sizes), (keys, moves))
    log_ratio, rates = (
        leaf[num_pilot:].reshape(num_runs - 1, num_temperatures, *leaf.shape[1:]) for leaf in (log_ratio, rates)
    )
    betas = _sigmoid_schedule(num_temperatures)
    increments = jnp.asarray(np.diff([betas, betas[::-1]][: num_runs - 1]), starts.dtype)
    return jnp.sum(increments[..., None] * log_ratio, axis=1), jnp.mean(rates[:, :-1], axis=1)


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
        key_start, *key_runs = jax.random.split(key, 4)
        starts = path.initial.sample(seed=key_start, sample_shape=(2, settings.num_chains))
        if exact is not None:
            starts = jnp.concatenate([starts, jnp.broadcast_to(exact, (1, *starts.shape[1:]))])
        log_weights, acceptance = _anneal(path, settings, jnp.stack(key_runs[: len(starts)]), starts)
        backward = None if exact is None else log_weights[1]
        return ChainWeights(log_weights[0], backward, jnp.mean(acceptance))

    keys = example_keys(key, num_rows(data), places)
    examples_at_once = max(1, settings.chunk_size // settings.num_chains)
    return map_chunks(anneal_example, (keys, data["x"], exact, context), examples_at_once)


def log_mean_exp(log_weights: jax.Array) -> jax.Array:
    """Log of the mean weight over chains [N], from log-weights [N, C]."""
    return jax.nn.logsumexp(log_weights, axis=1) - jnp.log(log_weights.shape[1])
