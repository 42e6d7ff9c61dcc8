"""The resampled prior (LARS): a base prior whose samples a learned function accepts or rejects."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive_integer, check_shape
from vaepriors_jax.conditioning import Conditioner, run_network
from vaepriors_jax.distributions.resampled import Resampled
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.normalizer import Normalizer, check_decay
from vaepriors_jax.priors.weighting import Weighting, check_unconditional, weighted_prior


@factory
def resampled(
    base_prior: Prior,
    dim: int,
    *,
    num_proposals: int = 100,
    hidden: tuple[int, ...] = (100, 100),
    num_draws: int = 1024,
    decay: float = 0.99,
) -> Prior:
    r"""Resampled prior (LARS): a learned function a(z) accepts or rejects samples of a base prior $\pi(z)$.

    A sample is the first of T proposals from $\pi$ that is accepted, with probability a(z) each; the last one is
    accepted anyway. Its density is

    $$p(z) = \pi(z) \left((1 - \alpha) \frac{a(z)}{Z} + \alpha\right), \qquad Z = E_\pi[a(z)], \qquad
    \alpha = (1 - Z)^{T - 1}.$$

    It goes to $\pi(z) a(z) / Z$ for large T. a(z) is a network with a sigmoid, which starts at 1/2 for all z: the prior
    starts as its base.

    **Z is an estimate**, and so is the density. In expectation the density is too high, at every z, since it is convex
    in Z. To second order log p(z) is too high by $\varepsilon^2 / 2$ where $\alpha$ is small, with $\varepsilon$ the
    relative error of Z. `vp.log_marginal` returns what the error of Z means for log p(x).

    The estimate is the prior's state, which `vp.init_prior_state(vae, params)` makes before training. Each step draws
    `num_draws` samples of the base anew. Their mean a(z) gives the gradient of Z, and moves the running mean that gives
    the value of Z. After training call `vp.init_prior_state(vae, params)` once more: it estimates Z for the trained
    parameters, from $2^{18}$ draws or from `num_draws=`. The running mean lags behind parameters that move, and its
    error does not include that.

    Args:
        base_prior: any prior $\pi(z)$ that reads no condition, such as a flow or a mixture; it learns, too.
        dim: dimension of z.
        num_proposals: T, the largest number of proposals for a sample; 1 gives the base.
        hidden: widths of the hidden layers of the network.
        num_draws: number of draws for the estimate of Z in each step.
        decay: weight of the past in the running mean of Z, at least 0 and below 1.

    Context:
        What the base prior reads.
        normalizer: the estimate of Z, in the prior's state.
        normalizer_error: its standard error, in the prior's state.
        normalizer_key: two words from which the draws of the next step are made, in the prior's state.

    Returns:
        A prior with the parameters `base`, those of the base prior, and `acceptance`, those of the network. Its KL is a
        Monte Carlo estimate. Samples carry no gradient.

    Raises:
        ValueError: an argument out of range, or a base prior that reads a condition, for which Z would depend on it.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.resampled(vp.mixture(2, num_components=3), dim=2)
        >>> params = prior.init(jax.random.key(0))
        >>> state = prior.init_state(params=params)
        >>> print(state["normalizer"], state["normalizer_error"])
        0.5 0.0
        >>> prior.apply(params, **state).sample(seed=jax.random.key(1)).shape
        (2,)

    References:
        Bauer & Mnih (2019), Resampled priors for variational autoencoders, sections 3 and 4: the truncated density, and
        the estimate of Z with a running mean. There the z of an example is one more draw in its Z, by importance
        weighting, and the network's units are tanh. Here the gradient of Z in the base prior's parameters is by the
        score function, which needs no smooth samples, so that any prior can be the base.
    """
    check_positive_integer(dim=dim, num_proposals=num_proposals, num_draws=num_draws)
    check_decay(decay)
    check_unconditional(base_prior)
    network = Conditioner(check_shape("hidden", hidden) if hidden != () else (), 1)

    def log_acceptance(params: Any, z: jax.Array) -> jax.Array:
        return jax.nn.log_sigmoid(run_network(network, params["acceptance"], z)[..., 0])

    weighting = Weighting(base_prior, dim, log_acceptance)
    estimate = Normalizer(weighting, num_draws, decay)

    def apply(params: Any, *, normalizer: Any, normalizer_error: Any, normalizer_key: Any, **context: Any) -> Resampled:
        value = estimate.value(params, context, normalizer, normalizer_key)
        error = jnp.asarray(normalizer_error, value.dtype)
        accept = Partial(log_acceptance, {"acceptance": params["acceptance"]})
        return Resampled(weighting.base(params, context), accept, value, error, num_proposals)

    return weighted_prior(weighting, network, "acceptance", apply, estimate)
