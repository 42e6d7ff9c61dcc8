"""An autoregressive prior with mixtures of Gaussians as conditionals."""

from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive, check_positive_integer, check_shape
from vaepriors_jax.conditioning import Condition, check_condition, run_network
from vaepriors_jax.distributions.autoregressive_mixture import AutoregressiveMixture
from vaepriors_jax.distributions.numerics import full_precision
from vaepriors_jax.factories import factory
from vaepriors_jax.made import MADE
from vaepriors_jax.priors.mixture_conditionals import (
    NAMES,
    conditionals_from_data,
    initial_conditionals,
    moved_conditionals,
)


@factory
def autoregressive_mixture(
    dim: int,
    num_components: int = 5,
    *,
    hidden: tuple[int, ...] = (64, 64),
    initial_spread: float = 1.0,
    num_classes: int | None = None,
    condition_dim: int | None = None,
    condition: str = "y",
) -> Prior:
    r"""Autoregressive prior with mixtures of Gaussians as conditionals (MADE MoG).

    $p(z) = \prod_i \sum_k w_{ik}(z_{<i})\, \mathcal{N}(z_i; \mu_{ik}(z_{<i}), \sigma_{ik}(z_{<i})^2)$. One masked
    network gives the weights, means and scales of all dimensions, so the density takes one pass; a sample takes `dim`
    passes. Scales are kept within [1e-8, 1e8].

    Args:
        dim: dimension of z.
        num_components: components of each conditional.
        hidden: widths of the network's hidden layers.
        initial_spread: standard deviation of the means that `init` draws.
        num_classes: if given, the network reads a label `y`.
        condition_dim: if given, the network reads a vector `y` [condition_dim].
        condition: the name of y: the entry of the batch that holds it.

    Context:
        y: the label or vector, if the prior is conditional; or an entry of the name that `condition` gives.

    Returns:
        A prior with the parameters `logits`, `loc` and `log_scale` [dim, num_components], and `network`, whose outputs
        are added to these. The network starts at zero: dimensions are then independent. A start from data fits the
        mixture of each dimension by k-means on its encodings.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.autoregressive_mixture(3)
        >>> distribution = prior.apply(prior.init(jax.random.key(0)))
        >>> distribution.log_prob(jnp.zeros((10, 3))).shape
        (10,)

    References:
        Uria, Murray & Larochelle (2013), RNADE (mixtures of Gaussians as conditionals); Germain, Gregor, Murray &
        Larochelle (2015), MADE (the masks); both together in Papamakarios, Pavlakou & Murray (2017), Masked
        autoregressive flow for density estimation, section 4. There all parameters are outputs of the network.
    """
    check_positive_integer(dim=dim, num_components=num_components)
    check_positive(initial_spread=initial_spread)
    read = Condition(num_classes, condition_dim, condition)
    check_condition(*read, required=False)
    # No `parent`: the network does not belong to a Linen module that calls the factory.
    network = MADE(dim, len(NAMES) * num_components, check_shape("hidden", hidden), use_bias=False, parent=None)

    def init(key: jax.Array) -> Any:
        key_network, key_loc = jax.random.split(key)
        params = network.init(key_network, jnp.zeros(dim), read.placeholder())["params"]
        return {"network": params} | initial_conditionals(key_loc, dim, num_components, initial_spread)

    def conditionals(params: Any, condition: Any, z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return moved_conditionals(params, run_network(network, params["network"], z, condition))

    def apply(params: Any, **context: Any) -> AutoregressiveMixture:
        params = jax.tree.map(full_precision, params)
        return AutoregressiveMixture(conditionals, params, read.vector(context), dim, params["loc"].dtype)

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del data
        return init(key) | conditionals_from_data(key, z, dim, num_components)

    return Prior(init, apply, {}, init_from_data)
