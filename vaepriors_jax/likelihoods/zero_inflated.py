"""Counts with more zeros than their likelihood explains."""

import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.numerics import full_precision
from vaepriors_jax.likelihoods.counts import Counts


class ZeroInflated(Counts):
    """Independent counts, some of which are set to zero; see `zero_inflated`."""

    def __init__(self, likelihood: Counts, logits: jax.Array | float):
        """Takes the likelihood of counts, and the logits of an extra zero."""
        self.likelihood = likelihood
        self.logits = jnp.broadcast_to(full_precision(jnp.asarray(logits)), likelihood.event_shape)
        self.mean_count = likelihood.mean_count * jax.nn.sigmoid(-self.logits)

    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats of each count."""
        nats = self.likelihood.pixel_log_prob(value) + jax.nn.log_sigmoid(-self.logits)
        with_extra = jnp.logaddexp(jax.nn.log_sigmoid(self.logits), nats)
        return jnp.where(jnp.asarray(value) == 0, with_extra, nats)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_zero, key_count = jax.random.split(key)
        counts = self.likelihood.sample(seed=key_count, sample_shape=n)
        is_extra = jax.random.bernoulli(key_zero, jax.nn.sigmoid(self.logits), counts.shape)
        return jnp.where(is_extra, 0, counts)

    def variance(self) -> jax.Array:
        """Variance of each count."""
        zero, mean = jax.nn.sigmoid(self.logits), self.likelihood.mean()
        return jax.nn.sigmoid(-self.logits) * (self.likelihood.variance() + zero * mean**2)


def zero_inflated(likelihood: Counts, logits: jax.Array | float) -> ZeroInflated:
    r"""Counts that are zero with an extra probability, $\pi\, [x_i = 0] + (1 - \pi)\, p(x_i)$.

    With `negative_binomial` it is the ZINB of single-cell data, with `poisson` the zero-inflated Poisson distribution.

    Args:
        likelihood: a `vp.negative_binomial` or a `vp.poisson`.
        logits: logits of $\pi$ [...], of a shape that broadcasts.

    Returns:
        A distrax distribution over counts; log-probabilities in nats. Means include the extra zeros.

    Raises:
        TypeError: another likelihood.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> likelihood = vp.zero_inflated(vp.negative_binomial(jnp.ones(1), 1.0), logits=0.0)
        >>> print(f"{likelihood.prob(jnp.zeros(1)):.2f}")  # 1/2 + 1/2 * 1/2
        0.75

    References:
        Eraslan et al. (2019), Single-cell RNA-seq denoising using a deep count autoencoder.
    """
    if not isinstance(likelihood, Counts):
        raise TypeError(
            "Expected a likelihood of counts, `vp.negative_binomial(...)` or `vp.poisson(...)`; got "
            f"{type(likelihood).__name__}."
        )
    return ZeroInflated(likelihood, logits)
