"""What the error of a prior's estimated normaliser means for log p(x)."""

from collections.abc import Callable, Mapping

import jax

from vaepriors_jax.evaluation.likelihood.importance_weights import WeightSummary
from vaepriors_jax.networks.variables import join, split
from vaepriors_jax.vae import VAEParams


def with_normalizer_error(weigh: Callable[[VAEParams], WeightSummary], params: VAEParams) -> WeightSummary:
    r"""The results of `weigh(params)`, with the error and the bias that come from an estimated normaliser Z.

    For the estimate $f(\hat Z)$ of log p(x) these are $f'(\hat Z)\, s$ and $f''(\hat Z)\, s^2 / 2$, with s the standard
    error of $\hat Z$. The prior's state holds both, as `normalizer` and `normalizer_error`.
    """
    prior_params, state = split(params.prior)
    if not state or not isinstance(state[0], Mapping) or not {"normalizer", "normalizer_error"} <= state[0].keys():
        return weigh(params)
    normalizer, error = state[0]["normalizer"], state[0]["normalizer_error"]

    def values_at(normalizer: jax.Array) -> tuple[jax.Array, WeightSummary]:
        changed = join(prior_params, ({**state[0], "normalizer": normalizer},))
        summary = weigh(params._replace(prior=changed))
        return summary.values, summary

    def change_at(normalizer: jax.Array) -> tuple[jax.Array, WeightSummary]:
        _, change, summary = jax.jvp(values_at, (normalizer,), (error,), has_aux=True)
        return change, summary

    change, curvature, summary = jax.jvp(change_at, (normalizer,), (error,), has_aux=True)
    return summary._replace(normalizer_error=change, normalizer_bias=curvature / 2)
