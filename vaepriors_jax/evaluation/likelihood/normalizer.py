"""What the error of a prior's estimated normaliser means for log p(x)."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from vaepriors_jax.evaluation.likelihood.importance_weights import WeightSummary
from vaepriors_jax.networks.variables import join, split
from vaepriors_jax.vae import VAEParams


def with_normalizer_error(weigh: Callable[[VAEParams], WeightSummary], params: VAEParams) -> WeightSummary:
    r"""The results of `weigh(params)`, with the error and the bias that come from an estimated normaliser.

    The prior's state holds the estimate $\hat Z$ as `normalizer`, one number or several, and its standard error as
    `normalizer_error`: for one number a number s, else directions $s_r$ [R, ...], whose products $s_r s_r^\top$ add up
    to the covariance. To second order the estimate $f(\hat Z)$ of log p(x) has the standard error
    $\sqrt{\sum_r (\nabla f \cdot s_r)^2}$ and the bias $\frac12 \sum_r s_r^\top \nabla^2 f\, s_r$.
    """
    prior_params, state = split(params.prior)
    if not state or not isinstance(state[0], Mapping) or not {"normalizer", "normalizer_error"} <= state[0].keys():
        return weigh(params)
    normalizer = jnp.asarray(state[0]["normalizer"])
    directions = jnp.asarray(state[0]["normalizer_error"], normalizer.dtype).reshape(-1, *normalizer.shape)

    def values_at(normalizer: jax.Array) -> tuple[jax.Array, WeightSummary]:
        changed = join(prior_params, ({**state[0], "normalizer": normalizer},))
        summary = weigh(params._replace(prior=changed))
        return summary.values, summary

    def along(direction: jax.Array) -> tuple[jax.Array, jax.Array, WeightSummary]:
        def change_at(normalizer: jax.Array) -> tuple[jax.Array, WeightSummary]:
            _, change, summary = jax.jvp(values_at, (normalizer,), (direction,), has_aux=True)
            return change, summary

        return jax.jvp(change_at, (normalizer,), (direction,), has_aux=True)

    changes, curvatures, summary = jax.vmap(along, out_axes=(0, 0, None))(directions)
    error = jnp.sqrt(jnp.sum(changes**2, axis=0))
    return summary._replace(normalizer_error=error, normalizer_bias=jnp.sum(curvatures, axis=0) / 2)
