"""Dirichlet distributions."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import digamma, gammaln

from vaepriors_jax.distributions.numerics import full_precision
from vaepriors_jax.distributions.simplex import log_proportions
from vaepriors_jax.distributions.spaces import SIMPLEX


class Dirichlet(distrax.Distribution):
    """A Dirichlet distribution; see `dirichlet`."""

    space = SIMPLEX

    def __init__(self, concentration: jax.Array):
        """Takes concentrations [K]."""
        self.concentration = full_precision(concentration)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(K,)."""
        return self.concentration.shape

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., K]: [...]."""
        logs = log_proportions(value, self.event_shape, self.concentration.dtype)
        constant = gammaln(jnp.sum(self.concentration)) - jnp.sum(gammaln(self.concentration))
        return constant + jnp.sum((self.concentration - 1) * logs, axis=-1)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        # By logarithms: a gamma variable of a small concentration can be below the smallest float.
        shape = (n, *self.event_shape)
        return jax.nn.softmax(jax.random.loggamma(key, self.concentration, shape, self.concentration.dtype), axis=-1)

    def mean(self) -> jax.Array:
        """Mean [K]."""
        return self.concentration / jnp.sum(self.concentration)

    def variance(self) -> jax.Array:
        """Variance of each entry [K]."""
        return self.mean() * (1 - self.mean()) / (1 + jnp.sum(self.concentration))


def kl_of_dirichlet(q_concentration: jax.Array, p_concentration: jax.Array) -> jax.Array:
    r"""KL in nats of Dirichlet distributions, concentrations $\alpha$ and $\beta$ [..., K].

    $\log \Gamma(\sum_i \alpha_i) - \log \Gamma(\sum_i \beta_i) + \sum_i \log \Gamma(\beta_i) - \log \Gamma(\alpha_i) +
    (\alpha_i - \beta_i)(\psi(\alpha_i) - \psi(\sum_j \alpha_j))$.
    """
    q_total, p_total = (jnp.sum(array, axis=-1) for array in (q_concentration, p_concentration))
    mean_log = digamma(q_concentration) - digamma(q_total)[..., None]
    entries = gammaln(p_concentration) - gammaln(q_concentration) + (q_concentration - p_concentration) * mean_log
    return gammaln(q_total) - gammaln(p_total) + jnp.sum(entries, axis=-1)


def dirichlet(concentration: jax.Array) -> Dirichlet:
    r"""Dirichlet distribution on the simplex of K entries.

    $p(z) = \frac{\Gamma(\sum_i \alpha_i)}{\prod_i \Gamma(\alpha_i)} \prod_{i = 1}^K z_i^{\alpha_i - 1}$, with respect
    to Lebesgue measure on the first K - 1 entries. Samples are differentiable in $\alpha$ (by implicit differentiation
    of gamma variables). As a posterior q(z|x) it goes with priors on the simplex; its KL to another Dirichlet
    distribution has a closed form. In float32 a concentration of 10^4 costs the density and the KL about 0.01 nats.

    Args:
        concentration: $\alpha$ > 0 [K], K >= 2. Below 0.05 many entries of samples are 0 in float32.

    Returns:
        A distrax distribution over z [K], entries >= 0 with the sum 1; log-densities in nats. It divides a z by its
        sum, and takes entries below 1e-30 for 1e-30.

    Raises:
        ValueError: another shape, or concentrations that are not above 0 (where their values are known: not in a
            compiled function).

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> q, p = vp.dirichlet(jnp.array([2.0, 1.0])), vp.dirichlet(jnp.ones(2))
        >>> print(f"{q.prob(jnp.array([0.75, 0.25])):.2f} {vp.kl_divergence(q, p):.4f}")  # log 2 - 1 / 2
        1.50 0.1931

    References:
        Joo, Lee, Park & Moon (2020), Dirichlet variational autoencoder (as a posterior; there with approximate
        samples); Figurnov, Mohamed & Mnih (2018), Implicit reparameterization gradients.
    """
    if jnp.ndim(concentration) != 1 or jnp.shape(concentration)[0] < 2:
        raise ValueError(
            f"Expected `concentration` [K] with K >= 2; got shape {list(jnp.shape(concentration))}. Take one example "
            "at a time."
        )
    if not isinstance(concentration, Tracer) and not (np.asarray(concentration) > 0).all():
        raise ValueError(
            f"Expected `concentration` > 0; got values from {np.min(concentration)} to {np.max(concentration)}. Make "
            "the output of a network positive, such as by `jax.nn.softplus`."
        )
    return Dirichlet(concentration)
