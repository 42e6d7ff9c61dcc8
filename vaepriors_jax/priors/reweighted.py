"""The reweighted prior: a base prior times a learned positive function, as noise-contrastive priors have it."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive, check_positive_integer, check_shape
from vaepriors_jax.conditioning import Conditioner, run_network
from vaepriors_jax.distributions.reweighted import Reweighted
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.normalizer import Normalizer, check_decay
from vaepriors_jax.priors.weighting import Weighting, check_unconditional, weighted_prior


@factory
def reweighted(
    base_prior: Prior,
    dim: int,
    *,
    num_proposals: int = 1024,
    num_langevin_steps: int = 0,
    step_size: float = 0.1,
    max_ratio: float = 1000.0,
    hidden: tuple[int, ...] = (100, 100),
    num_draws: int = 1024,
    decay: float = 0.99,
) -> Prior:
    r"""Reweighted prior, $p(z) = \pi(z) r(z) / Z$ with $Z = E_\pi[r(z)]$, for a base prior $\pi$ and a learned r.

    With a network u(z), which starts at 0, $r(z) = (1 + 1 / R) / (e^{-u(z)} + 1 / R)$: about $e^{u(z)}$, and at most
    R + 1 for R = `max_ratio`. The prior starts as its base. `vp.reweight_prior` fits r to a trained VAE by a classifier
    between encodings and samples of $\pi$, which makes it a noise-contrastive prior (NCP-VAE). It can also be trained
    with the VAE, by the gradient of Z.

    **Z is an estimate**, and so is the density. The estimate of Z has no bias, so that log p(z) is **too high in
    expectation**: to second order by $\varepsilon^2 / 2$, with $\varepsilon$ the relative error of Z. `vp.log_marginal`
    returns what the error of Z means for log p(x). Without a bound on r a few draws of the base could carry most of Z,
    and hide its error; with S draws the relative error is at most about $\sqrt{R / (S Z)}$. Z is in the prior's state,
    which `vp.init_prior_state(vae, params)` makes before training and for the trained parameters after it, from
    $2^{18}$ draws of the base or from `num_draws=`. In training each step draws `num_draws` samples anew for a running
    mean, as in `resampled`.

    **Samples are approximate.** Each is one of K proposals from $\pi$, chosen with probabilities in proportion to r
    (sampling-importance resampling). Their density goes to p(z) as K grows, with an error of order 1 / K; it is that of
    `snis` with the same f = r, which has no such error. With `num_langevin_steps` each sample is then moved by so many
    steps of the Metropolis-adjusted Langevin algorithm, which leaves p(z) as it is, and makes the error smaller.

    Args:
        base_prior: any prior $\pi(z)$ that reads no condition, such as a flow or a mixture.
        dim: dimension of z.
        num_proposals: K, the number of proposals for a sample.
        num_langevin_steps: number of Langevin steps for a sample; 0 for none.
        step_size: $\epsilon$ of Langevin steps, whose noise has the standard deviation $\sqrt{2 \epsilon}$.
        max_ratio: R, above 1: the largest r, about.
        hidden: widths of the hidden layers of the network.
        num_draws: number of draws for the estimate of Z in each step of training.
        decay: weight of the past in the running mean of Z, at least 0 and below 1.

    Context:
        What the base prior reads.
        normalizer: the estimate of Z, in the prior's state.
        normalizer_error: its standard error, in the prior's state.
        normalizer_key: two words from which the draws of the next step are made, in the prior's state.

    Returns:
        A prior with the parameters `base`, those of the base prior, and `weight`, those of the network. Its KL is a
        Monte Carlo estimate. Samples carry no gradient.

    Raises:
        ValueError: an argument out of range, or a base prior that reads a condition, on which Z would depend.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.reweighted(vp.standard_normal(2), dim=2, num_proposals=100)
        >>> params = prior.init(jax.random.key(0))
        >>> state = prior.init_state(params=params)
        >>> print(state["normalizer"], state["normalizer_error"])
        1.0 0.0
        >>> prior.apply(params, **state).sample(seed=jax.random.key(1)).shape
        (2,)

    References:
        Aneja, Schwing, Kautz & Vahdat (2021), A contrastive learning approach for training variational autoencoder
        priors, section 3: the prior, the classifier, and both samplers. There r has no bound, and Langevin dynamics is
        not corrected.
    """
    check_positive_integer(dim=dim, num_proposals=num_proposals, num_draws=num_draws)
    if num_langevin_steps != 0:
        check_positive_integer(num_langevin_steps=num_langevin_steps)
    check_positive(step_size=step_size, max_ratio=max_ratio)
    if max_ratio <= 1:
        raise ValueError(f"Expected `max_ratio` above 1, the ratio to start from; got {max_ratio!r}.")
    check_decay(decay)
    check_unconditional(base_prior)
    network = Conditioner(check_shape("hidden", hidden) if hidden != () else (), 1)

    def log_weight(params: Any, z: jax.Array) -> jax.Array:
        raw = run_network(network, params["weight"], z)[..., 0]
        return math.log1p(1 / max_ratio) - jnp.logaddexp(-raw, -math.log(max_ratio))

    weighting = Weighting(base_prior, dim, log_weight)
    estimate = Normalizer(weighting, num_draws, decay)

    def apply(
        params: Any, *, normalizer: Any, normalizer_error: Any, normalizer_key: Any, **context: Any
    ) -> Reweighted:
        value = estimate.value(params, context, normalizer, normalizer_key)
        return Reweighted(
            weighting.base(params, context),
            Partial(log_weight, {"weight": params["weight"]}),
            value,
            jnp.asarray(normalizer_error, value.dtype),
            num_proposals=num_proposals,
            num_langevin_steps=num_langevin_steps,
            step_size=step_size,
        )

    return weighted_prior(weighting, network, "weight", apply, estimate)
