"""Annealed importance sampling of log p(x)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.evaluation.estimates import Estimate, estimate
from vaepriors_jax.evaluation.likelihood.annealed_chains import (
    ChainWeights,
    Settings,
    anneal_examples,
    check_settings,
    log_mean_exp,
)
from vaepriors_jax.evaluation.per_example import map_data
from vaepriors_jax.vae import VAE, VAEParams


class AnnealedLogMarginal(NamedTuple):
    """Estimates of log p(x) by annealed importance sampling, in nats.

    Attributes:
        values: estimate for each example [N]; a lower bound in expectation.
        effective_sample_size: effective number of chains behind each value, between 1 and `num_chains` [N].
        acceptance_rate: mean probability over chains and temperatures that a move is accepted [N]; NaN with one
            temperature, where there are no moves.
        average: mean of `values`, with its standard error from the choice of examples.
    """

    values: jax.Array
    effective_sample_size: jax.Array
    acceptance_rate: jax.Array
    average: Estimate[jax.Array]

    @property
    def mean(self) -> jax.Array:
        """Short for `average.mean`."""
        return self.average.mean

    @property
    def standard_error(self) -> jax.Array:
        """Short for `average.standard_error`."""
        return self.average.standard_error


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

    are averaged over chains. The average is an unbiased estimate of p(x); its log is a lower bound on log p(x) in
    expectation. With T = 1 this is importance weighting. The more temperatures, the less the result depends on how
    well q(z|x) fits the posterior.

    The schedule is the sigmoid of 4 (2t/T - 1), shifted and scaled onto [0, 1]. Masses are the inverse variances of
    $f_0$, estimated from 64 samples where it has no closed form for them. Each example and temperature has its own
    step size. A pilot run of as many other chains, a tenth as long (100 temperatures at least), adapts them towards
    `target_acceptance`. In the run itself they are fixed, up to a spread of 20 % over chains and temperatures: chains
    that adapt their own step sizes would be biased. From 1000 temperatures on, the pilot run adds a tenth to the cost.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: examples [N, ...], or batches of them (see `vp.Stream`).
        num_chains: chains for each example.
        num_temperatures: T, the number of terms in a weight, with a transition between each two of them.
        num_leapfrog_steps: L, leapfrog steps of each transition. A chain costs T (L + 1) gradients of log p(x, z).
        initial: "posterior" starts from q(z|x), "prior" from p(z).
        target_acceptance: mean acceptance probability that the pilot run aims at.
        chunk_size: chains that run at a time (at least those of one example); increase it on an accelerator.
        **context: per-example context [N, ...], such as `y=`.

    Returns:
        An `AnnealedLogMarginal`, in nats.

    Raises:
        ValueError: an option is out of range, data are not finite or outside the likelihood's support, or the prior
            is not over R^n.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> from vaepriors_jax.evaluation.likelihood import annealed_importance_sampling
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

    def program(params: VAEParams, key: jax.Array, data: Any, places: Any) -> tuple[ChainWeights, Any]:
        return anneal_examples(vae, params, key, data, None, settings, places), data.get("weight")

    weights, weight = map_data(program, vae, params, key, x, context)
    values, effective_sample_size = _average(weights.forward)
    return AnnealedLogMarginal(values, effective_sample_size, weights.acceptance_rate, estimate(values, weight))


@jax.jit
def _average(log_weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log of the mean weight, and effective sample size [N], from log-weights [N, C]."""
    first, second = (jax.nn.logsumexp(power * log_weights, axis=1) for power in (1, 2))
    return log_mean_exp(log_weights), jnp.exp(2 * first - second)
