"""Logistic-normal distributions on the simplex."""

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.normal import NormalDiag, normal_diag
from vaepriors_jax.distributions.simplex import log_proportions
from vaepriors_jax.distributions.spaces import SIMPLEX


class LogisticNormal(distrax.Distribution):
    """A logistic-normal distribution; see `logistic_normal`."""

    space = SIMPLEX

    def __init__(self, loc: jax.Array, scale: jax.Array):
        """Takes mean and standard deviation of the log-ratios, [K - 1] both."""
        self.log_ratios: NormalDiag = normal_diag(loc, scale)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(K,)."""
        return (self.log_ratios.event_shape[0] + 1,)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., K]: [...]."""
        logs = log_proportions(value, self.event_shape, self.log_ratios.distribution.loc.dtype)
        return self.log_ratios.log_prob(logs[..., :-1] - logs[..., -1:]) - jnp.sum(logs, axis=-1)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        log_ratios = self.log_ratios.sample(seed=key, sample_shape=n)
        return jax.nn.softmax(jnp.pad(log_ratios, ((0, 0), (0, 1))), axis=-1)


def logistic_normal(loc: jax.Array, scale: jax.Array) -> LogisticNormal:
    r"""Logistic-normal distribution on the simplex of K entries, $z = \mathrm{softmax}(u_1, \dots, u_{K - 1}, 0)$.

    $u \sim \mathcal{N}(\mu, \mathrm{diag}(\sigma^2))$, so that $p(z) = \mathcal{N}(u; \mu, \mathrm{diag}(\sigma^2))
    \prod_{i = 1}^K z_i^{-1}$ with the log-ratios $u_i = \log z_i / z_K$. The density is with respect to Lebesgue
    measure on the first K - 1 entries. Samples are differentiable in both parameters. As a posterior q(z|x) it goes
    with priors on the simplex; its KL to another logistic-normal distribution is that of the two Gaussians.

    Args:
        loc: mean $\mu$ of the log-ratios [K - 1].
        scale: their standard deviation $\sigma$ > 0 [K - 1].

    Returns:
        A distrax distribution over z [K], entries >= 0 with the sum 1; log-densities in nats. It divides a z by its
        sum, and takes entries below 1e-30 for 1e-30.

    Raises:
        ValueError: shapes that do not fit, or a scale that is not above 0 (where its value is known: not in a compiled
            function).

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> q = vp.logistic_normal(jnp.zeros(1), jnp.ones(1))
        >>> print(f"{q.prob(jnp.array([0.5, 0.5])):.4f}")  # 4 / sqrt(2 pi)
        1.5958

    References:
        Aitchison & Shen (1980), Logistic-normal distributions: some properties and uses, section 2; as a posterior
        Srivastava & Sutton (2017), Autoencoding variational inference for topic models, section 3.
    """
    if jnp.ndim(loc) != 1 or jnp.shape(loc)[0] < 1:
        raise ValueError(
            f"Expected `loc` [K - 1], one number for each entry of z but the last; got shape {list(jnp.shape(loc))}. "
            "Take one example at a time."
        )
    return LogisticNormal(loc, scale)
