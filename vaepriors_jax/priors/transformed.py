"""A flow prior: a base prior seen through a flow."""

from typing import Any

import distrax
import jax

from vaepriors_jax.base import Flow, Inner, Prior, hyperprior_of, pull_back
from vaepriors_jax.distributions.spaces import check_euclidean
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.init_from_data import init_from_data


@factory
def transformed(base_prior: Prior, flow: Flow) -> Prior:
    r"""Flow prior: z = f(u) with u from a base prior.

    $\log p(z) = \log p_u(f^{-1}(z)) + \log |\det \partial f^{-1} / \partial z|$. The density is exact; the KL from a
    posterior to it is a Monte Carlo estimate.

    Args:
        base_prior: any prior over u in R^n, learnable or not.
        flow: any flow of the same dimension.

    Context:
        What the base prior and the flow read.

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> prior = vp.transformed(vp.standard_normal(2), vp.repeat(vp.affine_coupling(2), 4))
        >>> prior
        transformed(base_prior=standard_normal(dim=2), flow=repeat(flow=affine_coupling(dim=2), num_layers=4))
        >>> params = prior.init(jax.random.key(0))
        >>> prior.apply(params).sample(seed=jax.random.key(1)).shape
        (2,)

    References:
        Rezende & Mohamed (2015), Variational inference with normalizing flows, eq. 5; as a prior: Chen et al. (2017),
        Variational lossy autoencoder.
    """

    def init(key: jax.Array) -> Any:
        key_base, key_flow = jax.random.split(key)
        return {"base": base_prior.init(key_base), "flow": flow.init(key_flow)}

    def apply(params: Any, **context: Any) -> distrax.Transformed:
        base = base_prior.apply(params["base"], **context)
        check_euclidean("a flow", base)
        return distrax.Transformed(base, flow.apply(params["flow"], **context))

    def start(key: jax.Array, **data: Any) -> Any:
        params = init(key)
        if flow.init_from_data:
            params["flow"] = flow.init_from_data(jax.random.split(key)[1], **data)
            data["z"] = pull_back(flow, params["flow"], data.pop("z"), data)
        if base_prior.init_from_data:
            params["base"] = init_from_data(base_prior, key, **data)
        return params

    def start_from_encodings(key: jax.Array, *, z: Any, **data: Any) -> Any:
        return start(key, z=z, **data)

    starts = start_from_encodings if flow.init_from_data else start if base_prior.init_from_data else None
    inner = Inner(base_prior, "base")
    state = inner.init_state(), inner.update_state()
    return Prior(init, apply, {}, starts, inner, *state, hyperprior_of(inner))
