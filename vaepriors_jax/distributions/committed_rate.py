"""Posteriors that cannot collapse: their KL to N(0, I) has a lower bound, whatever the encoder learns."""

import jax
import numpy as np
from scipy.optimize import brentq

from vaepriors_jax.checks import check_positive
from vaepriors_jax.distributions.normal import NormalDiag, check_scale, normal_diag
from vaepriors_jax.distributions.numerics import full_precision

# The largest scale is taken this much smaller, so that rounding in float32 cannot undercut the rate.
MARGIN = 1e-6
LARGEST_RATE = 60.0  # nats of one dimension


def committed_rate(loc: jax.Array, scale: jax.Array, rate: float) -> NormalDiag:
    r"""Diagonal Gaussian posterior whose KL to N(0, I) is at least `rate` nats, whatever the encoder returns.

    Each of D dimensions commits to an equal part $\delta = \text{rate} / D$ by a bound on its scale. Given the scale s
    that the encoder returns it is $\sigma = (1/s + 1/\sigma_\delta)^{-1}$, below the $\sigma_\delta < 1$ that solves
    $\frac12 (\sigma^2 - 1) - \log \sigma = \delta$. As the KL of a dimension is
    $\frac12 (\sigma^2 - 1) - \log \sigma + \frac12 \mu^2$, it is above $\delta$ at any mean.

    The bound holds for the fixed prior `standard_normal`, and for no prior that learns: a learned prior can follow the
    posteriors. It also holds for no other fixed prior in general. A dimension that the decoder does not need still pays
    its part, so that a rate that is too large costs ELBO.

    Args:
        loc: mean $\mu$ [...].
        scale: s > 0 [...], of the same shape.
        rate: the committed rate of all dimensions together, in nats, > 0.

    Returns:
        A `NormalDiag`, as of `normal_diag`.

    Raises:
        ValueError: a rate that is not above 0, or above 60 nats a dimension; a scale that is not above 0
            (where its values are known); shapes that do not fit.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> q = vp.committed_rate(jnp.zeros(4), jnp.ones(4), rate=2.0)
        >>> float(vp.kl_divergence(q, vp.standard_normal(4).apply({}))) > 2.0
        True

    References:
        Razavi et al. (2019), Preventing posterior collapse with delta-VAEs, section 2, which bounds the KL by the
        families of posterior and prior. For sequences the paper takes a prior with correlations in time, which is
        `vp.autoregressive_normal`, in place of a bound on the scale.
    """
    check_positive(rate=rate)
    check_scale(scale)
    of_dimension = rate / max(1, np.size(loc))
    if of_dimension > LARGEST_RATE:
        raise ValueError(
            f"Expected a `rate` of at most {LARGEST_RATE:g} nats a dimension, beyond which float32 cannot hold the "
            f"scale; got {rate:g} for {np.size(loc)} dimensions."
        )
    largest = largest_scale(of_dimension)
    # Unlike s * largest / (s + largest) this is right for any s in (0, inf].
    return normal_diag(loc, largest / (1 + largest / full_precision(scale)))


def largest_scale(rate: float) -> float:
    """The scale below 1 at which N(0, scale^2) has a KL of `rate` nats to N(0, 1), less a margin for rounding."""

    def excess(log_scale: float) -> float:
        return float(np.expm1(2 * log_scale) / 2 - log_scale - rate)

    return float(np.exp(brentq(excess, -rate - 0.5, 0.0, xtol=1e-14))) * (1 - MARGIN)
