"""Annealed importance sampling of log p(x), and bounds on it from both sides on simulated data."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import VAE, VAEParams, split_context
from vaepriors_jax.checks import check_choice, check_labels, check_positive, check_positive_integer
from vaepriors_jax.data_checks import _label_counts, check_data
from vaepriors_jax.evaluation.estimates import estimate
from vaepriors_jax.objectives import log_likelihood
from vaepriors_jax.posterior_mixture import moments

# The pilot run that sets the step sizes: its share of the temperatures, the fewest it takes where the run has as many,
# its transitions at beta = 0 beforehand, and the change of log step size for each unit of acceptance off the target.
PILOT_SHARE, PILOT_LEAST, PILOT_WARM_UP, PILOT_GAIN = 0.1, 100, 25, 0.5
# Step sizes differ by up to 20 %, evenly over chains and temperatures: with one length a trajectory can come back to
# where it started.
SPREAD = 0.2


class AnnealedLogMarginal(NamedTuple):
    """Estimates of log p(x) by annealed importance sampling, in nats.

    Attributes:
        values: estimate for each example [N]; a lower bound in expectation.
        effective_sample_size: effective number of chains behind each, between 1 and `num_chains` [N].
        acceptance_rate: mean over chains and temperatures of the probability that a move is accepted [N]; NaN for one
            temperature, where nothing moves.
        mean: mean over examples.
        standard_error: its standard error from the choice of examples.
    """

    values: jax.Array
    effective_sample_size: jax.Array
    acceptance_rate: jax.Array
    mean: jax.Array
    standard_error: jax.Array


class BidirectionalBounds(NamedTuple):
    """Bounds on log p(x) of data simulated from the model, in nats.

    Attributes:
        x: the simulated examples [N, ...].
        lower: lower bound in expectation for each example [N].
        upper: upper bound in expectation for each example [N].
        acceptance_rate: mean acceptance of both directions [N].
        lower_mean: mean lower bound over examples.
        lower_standard_error: its standard error from the choice of examples.
        upper_mean: mean upper bound over examples.
        upper_standard_error: its standard error from the choice of examples.
        gap_mean: mean of upper - lower: in expectation, more than the mean error of either.
        gap_standard_error: its standard error.
    """

    x: jax.Array
    lower: jax.Array
    upper: jax.Array
    acceptance_rate: jax.Array
    lower_mean: jax.Array
    lower_standard_error: jax.Array
    upper_mean: jax.Array
    upper_standard_error: jax.Array
    gap_mean: jax.Array
    gap_standard_error: jax.Array


class _Settings(NamedTuple):
    num_chains: int
    num_temperatures: int
    num_leapfrog_steps: int
    initial: str
    target_acceptance: float
    chunk_size: int


class _Path(NamedTuple):
    """One example's densities from beta = 0 to 1, log f(z) = initial.log_prob(z) + beta * log_ratio(z).

    Attributes:
        initial: where chains start.
        log_ratio: log p(x, z) less the initial log-density.
        variance: of each latent [dim], as far as the start tells: the inverse masses.
    """

    initial: distrax.Distribution
    log_ratio: Callable[[jax.Array], jax.Array]
    variance: jax.Array


class _Weights(NamedTuple):
    """Log-weights of the chains [N, C], backward where exact samples were given; acceptance [N]."""

    forward: jax.Array
    backward: jax.Array | None
    acceptance_rate: jax.Array


def _make_path(
    vae: VAE, params: VAEParams, prior: distrax.Distribution, x: jax.Array, context: dict[str, Any], initial: str
) -> _Path:
    start = prior if initial == "prior" else vae.posterior(params, x, **context)

    def log_ratio(z: jax.Array) -> jax.Array:
        log_p_x = log_likelihood(vae, params, z, x, **context)
        return log_p_x if initial == "prior" else log_p_x + prior.log_prob(z) - start.log_prob(z)

    return _Path(start, log_ratio, _variance(start))


def _variance(start: distrax.Distribution) -> jax.Array:
    """The variance of each latent [dim], and 1 where there is none."""
    _, variance = moments(start)
    return jnp.where(jnp.isfinite(variance) & (variance > 0), variance, 1)


def _sigmoid_schedule(num_temperatures: int) -> np.ndarray:
    """Inverse temperatures from 0 to 1 [T + 1], densest at both ends."""
    sigmoid = 1 / (1 + np.exp(-4 * np.linspace(-1, 1, num_temperatures + 1)))
    return (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])


def _move(
    path: _Path, num_steps: int, key: jax.Array, z: jax.Array, beta: jax.Array, step_size: jax.Array
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


def _move_chains(
    path: _Path,
    settings: _Settings,
    key: jax.Array,
    index: jax.Array,
    z: jax.Array,
    beta: jax.Array,
    log_step_size: jax.Array,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The `index`-th transition of all chains: see `_move`, each output with an axis [C]."""
    chains = jnp.arange(settings.num_chains, dtype=z.dtype) / settings.num_chains
    golden_ratio = (np.sqrt(5) - 1) / 2
    evenly = jnp.mod(chains + index.astype(z.dtype) * float(golden_ratio), 1)
    step_sizes = jnp.exp(log_step_size) * (1 - SPREAD + 2 * SPREAD * evenly)
    move = partial(_move, path, settings.num_leapfrog_steps)
    return jax.vmap(move, in_axes=(0, 0, None, 0))(jax.random.split(key, len(z)), z, beta, step_sizes)


def _adapt(path: _Path, settings: _Settings, key: jax.Array, z: jax.Array) -> jax.Array:
    """Log step sizes at the inner temperatures [T - 1], by stochastic approximation along a shorter run from z."""
    num_temperatures = settings.num_temperatures
    num_pilot = max(round(PILOT_SHARE * num_temperatures), min(PILOT_LEAST, num_temperatures))
    betas = jnp.concatenate([jnp.zeros(PILOT_WARM_UP), jnp.asarray(_sigmoid_schedule(num_pilot)[1:])]).astype(z.dtype)

    def step(carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        z, log_step_size = carry
        key, index, beta = inputs
        z, _, acceptance = _move_chains(path, settings, key, index, z, beta, log_step_size)
        log_step_size += PILOT_GAIN * (jnp.mean(acceptance) - settings.target_acceptance)
        return (z, log_step_size), log_step_size

    # A stable step for a Gaussian of unit scale is below 2.
    start = jnp.full((), np.log(0.5), z.dtype)
    _, adapted = jax.lax.scan(step, (z, start), (jax.random.split(key, len(betas)), jnp.arange(len(betas)), betas))
    inner = jnp.arange(1, num_temperatures, dtype=z.dtype) / num_temperatures
    pilot = jnp.arange(1, num_pilot + 1, dtype=z.dtype) / num_pilot
    return jnp.interp(inner, pilot, adapted[PILOT_WARM_UP:])


def _anneal(
    path: _Path, settings: _Settings, key: jax.Array, z: jax.Array, betas: jax.Array, log_step_sizes: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Carries chains z [C, dim] from betas[0] to betas[-1]: log-weights [C] and the acceptance rate."""

    def step(carry: Any, inputs: Any) -> tuple[Any, jax.Array]:
        z, log_weights = carry
        key, index, previous, beta, log_step_size = inputs
        z, log_ratio, acceptance = _move_chains(path, settings, key, index, z, beta, log_step_size)
        return (z, log_weights + (beta - previous) * log_ratio), jnp.mean(acceptance)

    num_moves = len(betas) - 2
    inputs = (jax.random.split(key, num_moves), jnp.arange(num_moves), betas[:-2], betas[1:-1], log_step_sizes)
    (z, log_weights), acceptance = jax.lax.scan(step, (z, jnp.zeros(len(z), z.dtype)), inputs)
    return log_weights + (betas[-1] - betas[-2]) * jax.vmap(path.log_ratio)(z), jnp.mean(acceptance)


@partial(jax.jit, static_argnums=(0, 6))
def _anneal_examples(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: dict[str, jax.Array],
    exact: jax.Array | None,
    shared: dict[str, Any],
    settings: _Settings,
) -> _Weights:
    """Chains forward from the initial distribution and, where exact posterior samples [N, dim] are given, backward."""
    per_example = {name: value for name, value in data.items() if name != "x"}
    common_prior = None if per_example else vae.latent_prior(params, **shared)

    def one(inputs: Any) -> _Weights:
        key, x, exact, context = inputs
        context = context | shared
        prior = vae.latent_prior(params, **context) if common_prior is None else common_prior
        path = _make_path(vae, params, prior, x, context, settings.initial)
        key_start, key_adapt, key_forward, key_backward = jax.random.split(key, 4)
        z_pilot, z = jnp.split(path.initial.sample(seed=key_start, sample_shape=2 * settings.num_chains), 2)
        betas = jnp.asarray(_sigmoid_schedule(settings.num_temperatures), z.dtype)
        log_step_sizes = _adapt(path, settings, key_adapt, z_pilot)
        forward, acceptance = _anneal(path, settings, key_forward, z, betas, log_step_sizes)
        if exact is None:
            return _Weights(forward, None, acceptance)
        z = jnp.broadcast_to(exact, z.shape)
        backward, acceptance_back = _anneal(path, settings, key_backward, z, betas[::-1], log_step_sizes[::-1])
        return _Weights(forward, backward, (acceptance + acceptance_back) / 2)

    keys = jax.random.split(key, data["x"].shape[0])
    examples_at_once = max(1, settings.chunk_size // settings.num_chains)
    return jax.lax.map(one, (keys, data["x"], exact, per_example), batch_size=examples_at_once)


def _log_mean_exp(log_weights: jax.Array) -> jax.Array:
    return jax.nn.logsumexp(log_weights, axis=1) - jnp.log(log_weights.shape[1])


def _check_settings(settings: _Settings) -> None:
    check_choice("initial", settings.initial, ("posterior", "prior"))
    check_positive(target_acceptance=settings.target_acceptance)
    if settings.target_acceptance >= 1:
        raise ValueError(f"Expected `target_acceptance` below 1, such as 0.65; got {settings.target_acceptance!r}.")
    numbers = settings._asdict()
    check_positive_integer(**{name: numbers[name] for name in numbers if name not in ("initial", "target_acceptance")})


def annealed_importance_sampling(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    num_leapfrog_steps: int = 10,
    initial: str = "posterior",
    target_acceptance: float = 0.65,
    chunk_size: int = 1000,
    **context: Any,
) -> AnnealedLogMarginal:
    r"""log p(x) of each example by annealed importance sampling with Hamiltonian Monte Carlo.

    Chains start at $z_0 \sim f_0$, the encoder's q(z|x) or the prior, and move along the geometric path
    $f_t(z) \propto f_0(z)^{1 - \beta_t}\, p(x, z)^{\beta_t}$ from $\beta_0 = 0$ to $\beta_T = 1$. Their weights

    $$\log w = \sum_{t=1}^T (\beta_t - \beta_{t-1}) \left[\log p(x, z_{t-1}) - \log f_0(z_{t-1})\right]$$

    are averaged over chains: the log of an unbiased estimate of p(x), and so a lower bound on log p(x) in expectation.
    T = 1 is importance weighting; with more temperatures it matters less and less how far q(z|x) is from the posterior.

    The schedule is the sigmoid of 2t/T - 1 times 4, shifted and scaled onto [0, 1]. Masses are the inverse variances of
    $f_0$, of 64 samples where it does not tell them. Step sizes, one for each example and temperature, come from a
    pilot run of as many other chains, a tenth as long (100 temperatures at least), that adapts them towards
    `target_acceptance`; in the run itself they are fixed, but for a spread of 20 % over chains and temperatures. So the
    adaptation costs a tenth more (from 1000 temperatures on) and biases nothing, as it would if chains adapted their
    own.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: examples [N, ...].
        num_chains: chains for each example.
        num_temperatures: T; there is a transition between two of the T weights.
        num_leapfrog_steps: L, steps of each transition. A chain costs T (L + 1) gradients of log p(x, z).
        initial: "posterior" starts from q(z|x), "prior" from p(z), whatever the encoder.
        target_acceptance: mean acceptance probability that the pilot run aims at.
        chunk_size: chains that run at a time (at least those of one example); on an accelerator take more.
        **context: per-example context [N, ...], such as `y=`, or shared context, such as `data=`.

    Returns:
        An `AnnealedLogMarginal`, in nats.

    Raises:
        ValueError: an option out of range, or data that are not finite or outside the likelihood's support.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(jnp.ones(2), jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(jnp.zeros(3)),
        ...     prior=vp.standard_normal(2))
        >>> estimate = annealed_importance_sampling(
        ...     vae, vp.VAEParams({}, {}, {}), jax.random.key(0), jnp.ones((4, 3)), num_temperatures=100)
        >>> print(f"{estimate.mean:.1f}")
        -2.1

    References:
        Neal (2001), Annealed importance sampling, eq. 11; for VAEs, with the schedule, 16 chains and 10 leapfrog steps:
        Wu, Burda, Salakhutdinov & Grosse (2017), On the quantitative analysis of decoder-based generative models,
        sections 3 and 4. There each chain adapts its step size as it goes, and masses are 1.
    """
    settings = _Settings(num_chains, num_temperatures, num_leapfrog_steps, initial, target_acceptance, chunk_size)
    _check_settings(settings)
    per_example, shared = split_context(context)
    data = check_data(vae, params, {"x": x, **per_example}, key)
    weights = _anneal_examples(vae, params, key, data, None, shared, settings)
    first, second = (jax.nn.logsumexp(power * weights.forward, axis=1) for power in (1, 2))
    values = _log_mean_exp(weights.forward)
    mean, error = estimate(values)
    return AnnealedLogMarginal(values, jnp.exp(2 * first - second), weights.acceptance_rate, mean, error)


@partial(jax.jit, static_argnums=(0, 3))
def _simulate(
    vae: VAE, params: VAEParams, key: jax.Array, num_examples: int, per_example: Any, shared: Any
) -> tuple[jax.Array, jax.Array]:
    """Draws z [N, dim] from the prior, and x [N, ...] given it."""

    def one(key: jax.Array, context: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
        key_z, key_x = jax.random.split(key)
        context = context | shared
        z = vae.latent_prior(params, **context).sample(seed=key_z)
        return z, vae.likelihood(params, z, **context).sample(seed=key_x)

    return jax.vmap(one)(jax.random.split(key, num_examples), per_example)


def bidirectional_monte_carlo(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    *,
    num_examples: int = 100,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    num_leapfrog_steps: int = 10,
    initial: str = "posterior",
    target_acceptance: float = 0.65,
    chunk_size: int = 1000,
    **context: Any,
) -> BidirectionalBounds:
    r"""Bounds on log p(x) from both sides, for data simulated from the model: how far annealing can be wrong.

    With $z \sim p(z)$ and $x \sim p(x|z)$, z is an exact sample of the posterior p(z|x). Chains that start there and
    take the path of `annealed_importance_sampling` backwards have weights whose mean is 1 / p(x), so that minus the log
    of their average is an upper bound on log p(x) in expectation; chains forward give the lower bound. If the gap is
    small here, the same settings can be trusted on real data as far as these are like the model's own.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        num_examples: N, the number of examples to simulate.
        num_chains: chains for each example and direction; those backward share their start.
        num_temperatures: see `annealed_importance_sampling`.
        num_leapfrog_steps: see there.
        initial: see there.
        target_acceptance: see there; both directions take the same step sizes.
        chunk_size: see there.
        **context: per-example context [num_examples, ...], such as `y=`, or shared context.

    Returns:
        A `BidirectionalBounds`, in nats.

    Raises:
        ValueError: an option out of range, or context of another length than `num_examples`.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(jnp.zeros(3)),
        ...     prior=vp.standard_normal(2))
        >>> bounds = bidirectional_monte_carlo(
        ...     vae, vp.VAEParams({}, {}, {}), jax.random.key(0), num_examples=4, num_temperatures=10)
        >>> print(f"{bounds.lower_mean:.4f} {bounds.upper_mean:.4f}")
        -2.0794 -2.0794

    References:
        Grosse, Ghahramani & Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo, section
        3; Wu, Burda, Salakhutdinov & Grosse (2017), On the quantitative analysis of decoder-based generative models,
        section 4.
    """
    check_positive_integer(num_examples=num_examples)
    settings = _Settings(num_chains, num_temperatures, num_leapfrog_steps, initial, target_acceptance, chunk_size)
    _check_settings(settings)
    per_example, shared = split_context(context)
    for name, value in per_example.items():
        if np.shape(value)[:1] != (num_examples,):
            raise ValueError(
                f"Expected one `{name}` for each of num_examples={num_examples} simulated examples; got shape "
                f"{np.shape(value)}."
            )
    # Before anything is simulated: a label outside the classes would make NaN of x.
    for num_classes in _label_counts(vae.prior.config):
        if "y" in per_example:
            check_labels(per_example["y"], num_classes)
    key_data, key_chains = jax.random.split(key)
    per_example = jax.tree.map(jnp.asarray, per_example)
    z, x = _simulate(vae, params, key_data, num_examples, per_example, shared)
    data = check_data(vae, params, {"x": x, **per_example}, key)
    weights = _anneal_examples(vae, params, key_chains, data, z, shared, settings)
    assert weights.backward is not None
    lower, upper = _log_mean_exp(weights.forward), -_log_mean_exp(weights.backward)
    errors = map(estimate, (lower, upper, upper - lower))
    flat = (number for pair in errors for number in pair)
    return BidirectionalBounds(x, lower, upper, weights.acceptance_rate, *flat)
