"""A prior whose parameters, or whose parameters and context, are fixed."""

import warnings
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Inner, Prior
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.full_mixture import FullMixture
from vaepriors_jax.factories import check_is, factory, register
from vaepriors_jax.networks.variables import split
from vaepriors_jax.priors.mixture import mixture_parameters


@factory
def stop_gradient(prior: Prior) -> Prior:
    """The same prior, whose parameters get no gradient."""

    def apply(params: Any, **context: Any) -> distrax.Distribution:
        return prior.apply(jax.lax.stop_gradient(params), **context)

    return prior._replace(apply=apply, config={}, inner=Inner(prior), log_hyperprior=None)


register("frozen", __name__, stop_gradient)  # its name in models of version 0.1


def frozen(prior: Prior) -> Prior:
    """The name of `stop_gradient` in version 0.1."""
    warnings.warn("`vp.frozen` is now called `vp.stop_gradient`.", DeprecationWarning, stacklevel=2)
    return stop_gradient(prior)


def freeze(prior: Prior, params: Any, **context: Any) -> Prior:
    """Fixes a prior's parameters and context: the same distribution as a prior that reads nothing and does not learn.

    What the context gives (the encodings of a VampPrior's pseudo-inputs) is computed here, once; posteriors that are
    not diagonal Gaussians keep their encoder, and are encoded again. The arrays are the new prior's parameters, so that
    they can be passed to a compiled function and saved: `init` returns them.

    Args:
        prior: any prior.
        params: its parameters; for a prior with state its `vp.Variables`.
        **context: what it reads, such as `encode=` or `y=`.

    Returns:
        A prior whose `init` ignores its key. A mixture (and so a VampPrior with a Gaussian posterior) becomes a
        `stop_gradient(mixture(...))`, which can be rebuilt from its configuration; another prior is rebuilt only where
        its configuration is plain data.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.vamp(5, (4,))
        >>> params = prior.init(jax.random.key(0))
        >>> encode = lambda x: vp.normal_diag(x[:2], jnp.ones(2))
        >>> frozen = vp.freeze(prior, params, encode=encode)
        >>> z = jnp.zeros(2)
        >>> gap = frozen.apply(frozen.init(jax.random.key(1))).log_prob(z) - (
        ...     prior.apply(params, encode=encode).log_prob(z))
        >>> bool(abs(gap) < 1e-5)
        True
    """
    check_is(Prior, prior)
    params, state = split(params)
    context = (dict(state[0]) if state else {}) | context
    distribution = prior.apply(params, **context)
    if isinstance(distribution, (DiagonalMixture, FullMixture)):
        fixed, values = mixture_parameters(distribution)
        return stop_gradient(fixed)._replace(init=lambda key: values, init_from_data=None)
    if not context:
        return stop_gradient(prior)._replace(init=lambda key: params, init_from_data=None)
    leaves, structure = jax.tree.flatten(distribution)
    # Parameters are floats: the classes of pseudo-inputs, numbers of components and keys stay constants.
    values = {str(i): leaf for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)}

    def apply(params: Any, **context: Any) -> distrax.Distribution:
        del context
        arrays = [jax.lax.stop_gradient(params[str(i)]) if str(i) in values else a for i, a in enumerate(leaves)]
        return jax.tree.unflatten(structure, arrays)

    config = {"factory": "freeze", "prior": prior.config, "params": params, **context}
    return Prior(lambda key: values, apply, config)
