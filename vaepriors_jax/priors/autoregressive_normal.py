"""The prior of the delta-VAE: Gaussian chains, correlated in time."""

from typing import Any

import jax
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.distributions.autoregressive_normal import AutoregressiveNormal
from vaepriors_jax.factories import factory


@factory
def autoregressive_normal(num_steps: int, num_channels: int = 1, *, correlation: float = 0.95) -> Prior:
    r"""Gaussian chains, $p(z) = \prod_c \mathcal{N}(z_{1c}; 0, 1) \prod_t \mathcal{N}(z_{tc}; \alpha z_{t-1,c}, s^2)$.

    With $s^2 = 1 - \alpha^2$ each step has a variance of 1. The prior has no parameters. A posterior with independent
    dimensions cannot match its correlations: its KL is at least $\frac C2 \left((T - 2) \ln(1 + \alpha^2) - \ln(1 -
    \alpha^2)\right)$ nats, whatever the encoder learns, so that the latents cannot collapse. This rate is
    `prior.apply({}).committed_rate`. A posterior with correlations between the dimensions has no such bound.

    z is one vector [T C] that holds all channels of the first step, then those of the second. The KL from a diagonal
    Gaussian posterior has a closed form.

    Args:
        num_steps: T, the steps of each chain.
        num_channels: C, the number of chains, which are independent.
        correlation: $\alpha$ between neighbouring steps, between -1 and 1; with 0 the prior is N(0, I).

    Raises:
        ValueError: `num_steps` or `num_channels` is not an integer of at least 1, or `correlation` is not between -1
            and 1.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> p = vp.autoregressive_normal(16, correlation=0.9).apply({})
        >>> print(f"{p.committed_rate:.2f}")
        4.98
        >>> bool(vp.kl_divergence(vp.normal_diag(jnp.zeros(16), jnp.ones(16)), p) > p.committed_rate)
        True

    References:
        Razavi, van den Oord, Poole & Vinyals (2019), Preventing posterior collapse with delta-VAEs, section 2.2: the
        prior, and the bound. There each channel has a correlation of its own.
    """
    check_positive_integer(num_steps=num_steps, num_channels=num_channels)
    is_number = isinstance(correlation, (int, float, np.floating)) and not isinstance(correlation, bool)
    if not is_number or not -1 < correlation < 1:
        raise ValueError(f"Expected `correlation` as a number between -1 and 1, such as 0.95; got {correlation!r}.")
    distribution = AutoregressiveNormal(num_steps, num_channels, float(correlation))

    def init(key: jax.Array) -> Any:
        del key
        return {}

    def apply(params: Any, **context: Any) -> AutoregressiveNormal:
        del params, context
        return distribution

    return Prior(init, apply, {})
