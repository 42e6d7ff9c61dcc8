"""Annealed importance sampling of log p(x); with `bidirectional`, bounds from both sides on simulated data."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.data_checks import check_data
from vaepriors_jax.evaluation.estimates import estimate
from vaepriors_jax.evaluation.likelihood.annealed_chains import Settings, anneal_examples, check_settings, log_mean_exp
from vaepriors_jax.evaluation.likelihood.bidirectional import BidirectionalBounds, bidirectional_monte_carlo
from vaepriors_jax.vae import VAE, VAEParams, split_context

__all__ = [
    "AnnealedLogMarginal",
    "BidirectionalBounds",
    "annealed_importance_sampling",
    "bidirectional_monte_carlo",
]


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
    settings = Settings(num_chains, num_temperatures, num_leapfrog_steps, initial, target_acceptance, chunk_size)
    check_settings(settings)
    per_example, shared = split_context(context)
    data = check_data(vae, params, {"x": x, **per_example}, key)
    weights = anneal_examples(vae, params, key, data, None, shared, settings)
    first, second = (jax.nn.logsumexp(power * weights.forward, axis=1) for power in (1, 2))
    values = log_mean_exp(weights.forward)
    mean, error = estimate(values)
    return AnnealedLogMarginal(values, jnp.exp(2 * first - second), weights.acceptance_rate, mean, error)
