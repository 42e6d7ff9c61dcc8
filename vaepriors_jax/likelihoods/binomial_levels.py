"""A binomial distribution over grey levels."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import gammaln

from vaepriors_jax.distributions.numerics import full_precision, on_support
from vaepriors_jax.likelihoods.pixelwise import Levels, check_num_levels


@partial(jax.jit, static_argnums=(2, 3))
def _successes(key: jax.Array, probability: jax.Array, n: int, num_trials: int) -> jax.Array:
    """Draws numbers of successes [n, ...] of independent trials with a probability [...]; compiled once."""
    zeros = jnp.zeros((n, *probability.shape), probability.dtype)

    def add_trial(trial: int, successes: jax.Array) -> jax.Array:
        uniform = jax.random.uniform(jax.random.fold_in(key, trial), zeros.shape, zeros.dtype)
        return successes + (uniform < probability).astype(zeros.dtype)

    return jax.lax.fori_loop(0, num_trials, add_trial, zeros)


class BinomialLevels(Levels):
    """Independent pixels on levels; see `binomial_levels`."""

    def __init__(self, logits: jax.Array, num_levels: int):
        """Takes the logits of a trial's success, and the number of levels L, of which there are L - 1 trials."""
        self.num_levels = num_levels
        self.logits = full_precision(logits)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of the logits."""
        return self.logits.shape

    def pixel_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-probability in nats of each pixel."""
        top = self.num_levels - 1
        levels = np.arange(self.num_levels)
        # Computed in float64, since the terms are far larger than their sum.
        log_choices = gammaln(top + 1) - gammaln(levels + 1) - gammaln(top - levels + 1)
        k, is_level, given = self.nearest_level(value, self.logits.dtype)
        log_odds = k * jax.nn.log_sigmoid(self.logits) + (top - k) * jax.nn.log_sigmoid(-self.logits)
        nats = jnp.asarray(log_choices, self.logits.dtype)[k.astype(jnp.int32)] + log_odds
        return on_support(is_level, nats, given)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        num_trials = self.num_levels - 1
        return _successes(key, jax.nn.sigmoid(self.logits), n, num_trials) / num_trials

    def mean(self) -> jax.Array:
        """Mean of each pixel."""
        return jax.nn.sigmoid(self.logits)

    def variance(self) -> jax.Array:
        """Variance of each pixel."""
        return jax.nn.sigmoid(self.logits) * jax.nn.sigmoid(-self.logits) / (self.num_levels - 1)


def binomial_levels(logits: jax.Array, num_levels: int = 256) -> BinomialLevels:
    r"""Independent binomial variables over L levels, $p(x_i = \tfrac{k}{L-1}) = \mathrm{Bin}(k; L - 1, \sigma(l_i))$.

    With two levels it is the Bernoulli distribution.

    Args:
        logits: $l$ [...], of any magnitude.
        num_levels: L; level k of the data is k / (L - 1) in floating numbers (8-bit images divided by 255), or the
            integer k.

    Returns:
        A distrax distribution whose event has the shape of `logits`; log-probabilities in nats.

    Raises:
        ValueError: fewer than two levels.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> likelihood = vp.binomial_levels(jnp.array(0.0), num_levels=3)
        >>> print(jax.vmap(likelihood.prob)(jnp.array([0.0, 0.5, 1.0])).round(3))
        [0.25 0.5  0.25]
    """
    return BinomialLevels(logits, check_num_levels(num_levels))
