"""The importance-weighted bound as a training objective, with two estimators of its gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

BOUNDS = ("elbo", "iwae")
GRADIENTS = ("reparameterized", "doubly_reparameterized")

# From samples z [..., S, dim] and whether q(z|x) carries a gradient, log p(x|z) and log p(z) - log q(z|x) [..., S].
Weigh = Callable[[jax.Array, bool], tuple[jax.Array, jax.Array]]


def importance_bound(weigh: Weigh, z: jax.Array, beta: Any, gradient: str) -> jax.Array:
    r"""$\log \frac1S \sum_s w_s$ with $\log w_s = \log p(x|z_s) + \beta (\log p(z_s) - \log q(z_s|x))$: [...].

    The doubly reparameterised gradient has the same expectation. With the shares $\tilde w_s = w_s / \sum_r w_r$ as
    constants it is $\sum_s \tilde w_s \nabla \log w_s$, where log q has no gradient of its own and that through z_s is
    multiplied by $1 - \beta + \beta \tilde w_s$; at $\beta = 1$ the encoder gets $\tilde w_s^2$.
    """
    log_weights = _log_weights(weigh, z, beta, True)
    bound = jax.nn.logsumexp(log_weights, axis=-1) - jnp.log(z.shape[-2])
    if gradient == "reparameterized":
        return bound

    share = jax.lax.stop_gradient(jax.nn.softmax(log_weights, axis=-1))
    z = _scale_gradient(z, (1 - beta + beta * share)[..., None])
    # These log-weights are those above: compiled, they are computed once.
    log_weights = _log_weights(weigh, z, beta, False)
    surrogate = jnp.sum(jnp.where(share > 0, share * log_weights, 0), axis=-1)
    return jax.lax.stop_gradient(bound - surrogate) + surrogate


def _log_weights(weigh: Weigh, z: jax.Array, beta: Any, q_has_gradient: bool) -> jax.Array:
    nats, log_ratio = weigh(z, q_has_gradient)
    return nats + beta * log_ratio


@jax.custom_vjp
def _scale_gradient(z: jax.Array, factor: jax.Array) -> jax.Array:
    """The same z; its gradient is multiplied by a factor."""
    del factor
    return z


_scale_gradient.defvjp(
    lambda z, factor: (z, factor),
    lambda factor, gradient: ((gradient * factor).astype(gradient.dtype), jnp.zeros_like(factor)),
)
