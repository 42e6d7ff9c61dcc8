"""Weights of a mixture by breaking a stick, and their density under a Dirichlet process."""

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln


def log_weights_of(sticks: jax.Array) -> jax.Array:
    r"""Log-weights [K] of sticks s [K - 1]: $w_k = v_k \prod_{j<k} (1 - v_j)$ with $v_k = 1 / (1 + e^{-s_k})$.

    What is left of the stick is the weight of the last component.
    """
    start = jnp.zeros(1, sticks.dtype)
    taken = jnp.concatenate([jax.nn.log_sigmoid(sticks), start])
    return taken + jnp.concatenate([start, jnp.cumsum(jax.nn.log_sigmoid(-sticks))])


def sticks_of(log_weights: jax.Array) -> jax.Array:
    """The sticks [K - 1] of log-weights [K], the inverse of `log_weights_of`."""
    left = jax.lax.cumlogsumexp(log_weights, reverse=True)[1:]  # of the stick after each piece
    return log_weights[:-1] - left


def log_prob_of_sticks(sticks: jax.Array, concentration: float | None) -> jax.Array:
    r"""Log-density in nats of sticks s [K - 1] of a Dirichlet process with concentration $\alpha$.

    $\sum_k \log \mathrm{Beta}(v_k; 1, \alpha) + \log |dv_k / ds_k|$
    $= (K - 1) \log \alpha + \sum_k \log v_k + \alpha \log(1 - v_k)$. It is a density of s, in which it is concave; that
    of v has no maximum for $\alpha < 1$. For None $\alpha$ is unknown with density $e^{-\alpha}$ and integrated out.
    """
    count = sticks.shape[0]
    log_taken = jnp.sum(jax.nn.log_sigmoid(sticks))
    log_left = jnp.sum(jax.nn.log_sigmoid(-sticks))
    if concentration is None:
        return gammaln(count + 1.0) - (count + 1) * jnp.log1p(-log_left) + log_taken
    return count * jnp.log(concentration) + log_taken + concentration * log_left
