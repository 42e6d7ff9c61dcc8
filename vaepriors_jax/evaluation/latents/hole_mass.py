"""Hole mass: the share of a prior's mass that lies where no example is encoded."""

from functools import partial
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
from jax.core import Tracer

from vaepriors_jax.checks import check_key, check_positive_integer
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.evaluation.estimates import Estimate, share
from vaepriors_jax.evaluation.latents.aggregated_posterior import log_prob_in_chunks
from vaepriors_jax.evaluation.latents.latent_samples import check_distributions, check_samples
from vaepriors_jax.loops import map_chunks


class HoleMass(NamedTuple):
    """The part of each distribution that lies where the density of the other is low.

    Attributes:
        prior_in_holes: mass of p where log q(z) is below its `quantile` under q: the mass of the holes.
        posterior_uncovered: mass of q where log p(z) is below its `quantile` under p.
        quantile: the value of both if q = p.
    """

    prior_in_holes: Estimate
    posterior_uncovered: Estimate
    quantile: float


# A mixture with at least so many components is taken to be that of the posteriors of a data set.
_LEAST_EXAMPLES = 100


def _leave_one_out(mixture: Mixture, key: jax.Array, num: int, chunk_size: int) -> tuple[jax.Array, jax.Array]:
    """One z [num, dim] of each of `num` components, and its log-density [num] under all other components.

    Components of unequal weights are drawn by them.
    """
    key_rows, key_noise = jax.random.split(key)
    weights = jnp.exp(mixture.log_weights)
    if isinstance(weights, Tracer) or jnp.ptp(weights) <= 1e-3 * jnp.max(weights):
        rows = jax.random.permutation(key_rows, mixture.num_components)[:num]
    else:
        rows = jax.random.choice(key_rows, mixture.num_components, (num,), p=weights)

    def of_component(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        row, key = inputs
        own = jnp.full_like(mixture.log_weights, -jnp.inf).at[row].set(0)
        z = mixture.with_log_weights(own).sample(seed=key)
        rest = jnp.log1p(-jnp.exp(mixture.log_weights[row]))
        return z, mixture.with_log_weights(mixture.log_weights.at[row].set(-jnp.inf) - rest).log_prob(z)

    keys = jax.random.split(key_noise, num)
    return map_chunks(of_component, (rows, keys), min(chunk_size, num))


@jax.jit
def _mass_below(log_own: jax.Array, log_other: jax.Array, quantile: float) -> Estimate:
    """Share of `log_other` below the quantile of `log_own`; its error includes that of the quantile."""
    # The error of the quantile times the slope of the mass, from quantiles one standard error below and above.
    spread = jnp.sqrt(quantile * (1 - quantile) / len(log_own))
    low, high = (jnp.quantile(log_own, jnp.clip(quantile + s * spread, 0, 1)) for s in (-1, 1))
    shift = 0.5 * (jnp.mean(log_other < high) - jnp.mean(log_other < low))
    outside = share(log_other < jnp.quantile(log_own, quantile))
    return Estimate(outside.mean, jnp.hypot(outside.standard_error, shift))


def hole_mass(
    prior: distrax.Distribution,
    aggregated: distrax.Distribution,
    key: jax.Array,
    *,
    num_samples: int = 10_000,
    quantile: float = 0.01,
    held_out: Any = None,
    leave_one_out: bool | None = None,
    chunk_size: int = 500,
) -> HoleMass:
    r"""Mass of the prior's holes: $P_{z \sim p}(\log q(z) < t)$ with t the quantile of log q(z) under q.

    A sample of the aggregated posterior of N examples lies near its own component; a sample of p lies near none. In 20
    dimensions the quantile of log q at q's own samples is above log q at every sample of p, even if the examples were
    drawn from that p. So t is the quantile at encodings that are not among the components: at `held_out`, or at one z
    of each component n, with n left out of q(z). Then the mass is `quantile` for that p in 2 to 40 dimensions.

    **From about 10 dimensions on the hole mass does not detect local holes**: log q of a finite data set is then too
    smooth. With N = 10,000 and q empty in a slab that contains 38 % of p, it is about 0.02 in 10 dimensions and 0.01 in
    40. It is 0 for a prior that is concentrated on the encodings. `classifier_divergence` detects both.

    Args:
        prior: p(z).
        aggregated: q(z), such as `aggregated_posterior`.
        key: a random key.
        num_samples: samples of each distribution; of q at most one for each held-out z or left-out component.
        quantile: level of the quantile t, between 0 and 1.
        held_out: encodings z [M, dim] of examples that are not in `aggregated`, one z for each example.
        leave_one_out: whether a component is left out of q(z) at its own sample. By default it is if `aggregated` is a
            mixture of at least 100 components and there is no `held_out`. Pass False for a mixture that is q(z) itself,
            such as a VampPrior, rather than an estimate of it from examples.
        chunk_size: points at a time.

    Returns:
        A `HoleMass` of probabilities. Their standard errors cover the choice of the samples and the error of the
        threshold, to which each example contributes one independent sample; they do not cover the choice of the
        components.

    Raises:
        ValueError: `quantile` is not between 0 and 1; `held_out` is not [M, dim] or not finite; both `held_out` and
            `leave_one_out` are given; `leave_one_out` without a mixture of at least 2 components.
        TypeError: `prior` or `aggregated` is not a distribution, or `key` is not a random key.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> p, q = vp.normal_diag(jnp.zeros(1), 3 * jnp.ones(1)), vp.normal_diag(jnp.zeros(1), jnp.ones(1))
        >>> mass = vp.hole_mass(p, q, jax.random.key(0))
        >>> print(mass.prior_in_holes.mean.round(1))  # P(|3 z| > 2.58) = 0.39
        0.4
    """
    check_distributions(prior=prior, aggregated=aggregated)
    key = check_key(key)
    check_positive_integer(num_samples=num_samples, chunk_size=chunk_size)
    if not 0 < quantile < 1:
        raise ValueError(f"Expected `quantile` between 0 and 1; got {quantile!r}.")
    num_components = aggregated.num_components if isinstance(aggregated, Mixture) else 1
    if leave_one_out and (held_out is not None or num_components < 2):
        raise ValueError(
            "Expected `leave_one_out` with a mixture of at least 2 components and without `held_out`; got "
            f"{num_components} components, and `held_out` {'missing' if held_out is None else 'given'}."
        )
    key_p, key_q = jax.random.split(key)
    from_p = prior.sample(seed=key_p, sample_shape=num_samples)
    evaluate = partial(log_prob_in_chunks, chunk_size=chunk_size)
    if held_out is None:
        from_q, log_q = sample_encodings(aggregated, key_q, num_samples, leave_one_out, chunk_size)
    else:
        from_q, _ = check_samples(held_out=held_out, prior_samples=from_p)
        from_q = jax.random.permutation(key_q, from_q)[:num_samples]
        log_q = evaluate(aggregated, from_q)
    log_densities = log_q, evaluate(aggregated, from_p), evaluate(prior, from_p), evaluate(prior, from_q)
    return mass_of_holes(*log_densities, quantile)


def sample_encodings(
    aggregated: distrax.Distribution,
    key: jax.Array,
    num_samples: int,
    leave_one_out: bool | None = None,
    chunk_size: int = 500,
) -> tuple[jax.Array, jax.Array]:
    """Samples [M, dim] of q(z), and log q(z) at each [M], for `hole_mass`, whose arguments these are."""
    num_components = aggregated.num_components if isinstance(aggregated, Mixture) else 1
    if leave_one_out is None:
        leave_one_out = num_components >= _LEAST_EXAMPLES
    if leave_one_out and isinstance(aggregated, Mixture):
        return _leave_one_out(aggregated, key, min(num_samples, num_components), chunk_size)
    z = aggregated.sample(seed=key, sample_shape=num_samples)
    return z, log_prob_in_chunks(aggregated, z, chunk_size=chunk_size)


def mass_of_holes(
    log_q_of_q: jax.Array, log_q_of_p: jax.Array, log_p_of_p: jax.Array, log_p_of_q: jax.Array, quantile: float = 0.01
) -> HoleMass:
    """The hole mass from both log-densities at samples of both distributions."""
    in_holes = _mass_below(log_q_of_q, log_q_of_p, quantile)
    return HoleMass(in_holes, _mass_below(log_p_of_p, log_p_of_q, quantile), quantile)
