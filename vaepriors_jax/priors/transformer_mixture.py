"""An autoregressive prior whose conditionals, mixtures of Gaussians, come from a causal transformer."""

from typing import Any, cast

import jax
import jax.numpy as jnp

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.conditioning import Condition, check_condition, run_network
from vaepriors_jax.distributions.autoregressive_mixture import AutoregressiveMixture
from vaepriors_jax.distributions.numerics import full_precision
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.mixture_conditionals import (
    NAMES,
    conditionals_from_data,
    initial_conditionals,
    moved_conditionals,
)
from vaepriors_jax.transformer import CausalTransformer


@factory
def transformer_mixture(
    dim: int,
    num_components: int = 5,
    *,
    num_layers: int = 2,
    num_heads: int = 4,
    features: int = 64,
    initial_spread: float = 1.0,
    num_classes: int | None = None,
    condition_dim: int | None = None,
    condition: str = "y",
) -> Prior:
    r"""Autoregressive prior of a causal transformer, with mixtures of Gaussians as conditionals.

    $p(z) = \prod_i \sum_k w_{ik}(z_{<i})\, \mathcal{N}(z_i; \mu_{ik}(z_{<i}), \sigma_{ik}(z_{<i})^2)$, as that of
    `autoregressive_mixture`, with attention over the dimensions in place of a masked network. The density takes one
    pass. A sample takes `dim` passes of one token each: keys and values of the dimensions before it are cached. Scales
    are kept within [1e-8, 1e8].

    Args:
        dim: dimension of z. Each dimension is one token.
        num_components: components of each conditional.
        num_layers: layers of the transformer.
        num_heads: attention heads of each layer; they divide `features`.
        features: width of a token. The perceptron of a layer has 4 times as many units.
        initial_spread: standard deviation of the means that `init` draws.
        num_classes: if given, the transformer reads a label `y`.
        condition_dim: if given, the transformer reads a vector `y` [condition_dim].
        condition: the name of y: the entry of the batch that holds it.

    Context:
        y: the label or vector, if the prior is conditional; or an entry of the name that `condition` gives.

    Returns:
        A prior with the parameters `logits`, `loc` and `log_scale` [dim, num_components], and `network`, whose outputs
        are added to these. The outputs start at zero: dimensions are then independent. A start from data fits the
        mixture of each dimension by k-means on its encodings.

    Raises:
        ValueError: an argument out of range, or `num_heads` that do not divide `features`.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.transformer_mixture(3, num_layers=1, features=16)
        >>> distribution = prior.apply(prior.init(jax.random.key(0)))
        >>> distribution.log_prob(jnp.zeros((10, 3))).shape
        (10,)

    References:
        Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser & Polosukhin (2017), Attention is all you need,
        section 3 (masked self-attention); Xiong et al. (2020), On layer normalization in the transformer architecture,
        section 3 (normalisation before each sublayer, as here); Uria, Murray & Larochelle (2013), RNADE
        (mixtures of Gaussians as conditionals).
    """
    check_positive_integer(
        dim=dim, num_components=num_components, num_layers=num_layers, num_heads=num_heads, features=features
    )
    check_positive(initial_spread=initial_spread)
    if features % num_heads:
        raise ValueError(
            f"Expected `num_heads` that divides `features`; got num_heads={num_heads}, features={features}. Take "
            f"features={-(-features // num_heads) * num_heads}."
        )
    read = Condition(num_classes, condition_dim, condition)
    check_condition(*read, required=False)
    # No `parent`: the network does not belong to a Linen module that calls the factory.
    network = CausalTransformer(dim, len(NAMES) * num_components, num_layers, num_heads, features, parent=None)

    def init(key: jax.Array) -> Any:
        key_network, key_loc = jax.random.split(key)
        params = network.init(key_network, jnp.zeros(dim), read.placeholder())["params"]
        return {"network": params} | initial_conditionals(key_loc, dim, num_components, initial_spread)

    def conditionals(params: Any, condition: Any, z: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return moved_conditionals(params, run_network(network, params["network"], z, condition))

    def next_conditional(params: Any, condition: Any, z: jax.Array, i: jax.Array, cache: Any) -> Any:
        before, inputs = jnp.where(i > 0, z[i - 1], 0)[None], {"params": params["network"]}
        outputs, cache = cast(Any, network.apply(inputs, before, i, cache, condition, method="advance"))
        return moved_conditionals({name: params[name][i] for name in NAMES}, outputs[0]), cache

    def apply(params: Any, **context: Any) -> AutoregressiveMixture:
        params = jax.tree.map(full_precision, params)
        cache = network.empty_cache().astype(params["loc"].dtype)
        return AutoregressiveMixture(
            conditionals,
            params,
            read.vector(context),
            dim,
            params["loc"].dtype,
            next_conditional=next_conditional,
            cache=cache,
        )

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del data
        return init(key) | conditionals_from_data(key, z, dim, num_components)

    return Prior(init, apply, {}, init_from_data)
