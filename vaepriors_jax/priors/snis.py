"""The SNIS prior: of several samples of a base prior, one is chosen by learned weights."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_at_least_two, check_positive_integer, check_shape
from vaepriors_jax.conditioning import Conditioner, run_network
from vaepriors_jax.distributions.self_normalized import SelfNormalized
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.proposal_sums import ProposalSums
from vaepriors_jax.priors.weighting import Weighting, check_unconditional, weighted_prior


@factory
def snis(
    base_prior: Prior,
    dim: int,
    *,
    num_proposals: int = 1024,
    hidden: tuple[int, ...] = (100, 100),
    num_sums: int = 1,
) -> Prior:
    r"""SNIS prior: of K samples of a base prior $\pi(z)$, one is chosen by learned weights f(z).

    A sample is $z_i$ of $z_1, \dots, z_K \sim \pi$ with probability $f(z_i) / \sum_k f(z_k)$: sampling-importance
    resampling, or self-normalised importance sampling. Its density, for every K, is

    $$p(z) = \pi(z)\, E_W\!\left[\frac{K f(z)}{f(z) + W}\right], \qquad W = \sum_{k=1}^{K-1} f(z_k), \quad
    z_k \sim \pi.$$

    It goes to $\pi(z) f(z) / E_\pi[f]$ for large K, and is never above $K \pi(z)$. f is the exponential of a network,
    which starts at 0: the prior starts as its base.

    **The density is an estimate**: the expectation is a mean over M draws of W. That mean has no bias, and so its log
    is **too low in expectation**: a lower bound on log p(z), and in an ELBO a lower bound on log p(x). Training,
    validation and evaluation use this one estimate, and differ in M. Where a gradient is taken, a step of training
    draws `num_sums` sums anew; with one sum its objective is the bound of the paper. Validation takes sums of the
    last 68 steps or so, which belong to earlier parameters.

    The sums are in the prior's state, which `vp.init_prior_state(vae, params)` makes before training. Call it once more
    after training: it draws sums for the trained parameters, from $2^{18}$ samples of the base in all or from
    `num_draws=`. `vp.log_marginal` returns the error and the bias that their mean brings into log p(x).

    Args:
        base_prior: any prior $\pi(z)$ that reads no condition, such as a flow or a mixture; it learns, too.
        dim: dimension of z.
        num_proposals: K, the number of proposals for a sample, at least 2.
        hidden: widths of the hidden layers of the network.
        num_sums: number of draws of W for the gradient of a step, of K - 1 samples of the base each.

    Context:
        What the base prior reads.
        log_sums: draws of log W in groups [groups, M / groups], in the prior's state.
        normalizer: weights of the groups, all 1 [groups], in the prior's state.
        normalizer_error: directions [groups, groups] in which the weights may err, in the prior's state.
        normalizer_key: two words from which the draws of the next step are made, in the prior's state.

    Returns:
        A prior with the parameters `base`, those of the base prior, and `weight`, those of the network. Its KL is a
        Monte Carlo estimate. Samples carry no gradient.

    Raises:
        ValueError: an argument out of range, or a base prior that reads a condition, on which W would depend.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.snis(vp.mixture(2, num_components=3), dim=2, num_proposals=100)
        >>> params = prior.init(jax.random.key(0))
        >>> state = prior.init_state(params=params, num_draws=10_000)
        >>> state["log_sums"].shape
        (16, 7)
        >>> prior.apply(params, **state).sample(seed=jax.random.key(1)).shape
        (2,)

    References:
        Lawson, Tucker, Dai & Ranganath (2019), Energy-inspired models: learning with sampler-induced distributions,
        section 3: the sampler, its density, and the bound. There each example has proposals of its own; here the
        examples of a batch share them. The gradient in the base prior's parameters is by the score function, to first
        order in 1 / K, so that any prior can be the base.
    """
    check_at_least_two(num_proposals=num_proposals)
    check_positive_integer(dim=dim, num_sums=num_sums)
    check_unconditional(base_prior)
    network = Conditioner(check_shape("hidden", hidden) if hidden != () else (), 1, bias=False)

    def log_weight(params: Any, z: jax.Array) -> jax.Array:
        return run_network(network, params["weight"], z)[..., 0]

    weighting = Weighting(base_prior, dim, log_weight)
    sums = ProposalSums(weighting, num_proposals, num_sums)

    def apply(
        params: Any, *, log_sums: Any, normalizer: Any, normalizer_error: Any, normalizer_key: Any, **context: Any
    ) -> SelfNormalized:
        del normalizer_error
        values = sums.values(params, context, log_sums, normalizer_key)
        weights = jnp.asarray(normalizer, values.dtype)
        weigh = Partial(log_weight, {"weight": params["weight"]})
        return SelfNormalized(weighting.base(params, context), weigh, values, weights, num_proposals)

    return weighted_prior(weighting, network, "weight", apply, sums)
