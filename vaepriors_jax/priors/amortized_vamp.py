"""The amortised VampPrior: a network, not the encoder, gives the components at blocks of low frequencies."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_choice, check_finite, check_positive, check_positive_integer, check_shape
from vaepriors_jax.conditioning import Conditioner, run_network
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.normal import LARGEST_LOG_SCALE
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.init_from_data import examples_as_inputs, host_generator
from vaepriors_jax.priors.low_frequencies import check_block, low_frequencies
from vaepriors_jax.priors.vamp_start import check_start, find_start, rows_of_classes


@factory
def amortized_vamp(
    dim: int,
    num_components: int,
    input_shape: tuple[int, ...],
    block_shape: tuple[int, ...],
    *,
    hidden: tuple[int, ...] = (100, 100),
    weights: str = "uniform",
    initial_mean: float = 0.0,
    initial_scale: float = 1.0,
    start: str = "examples",
) -> Prior:
    r"""Amortised VampPrior of two levels, $p(z) = \sum_k w_k\, \mathcal{N}(z; \mu(u_k), \mathrm{diag}(\sigma(u_k)^2))$.

    The upper level is a block u of low frequencies (see `vp.low_frequencies`), which is one of K learned blocks $u_k$.
    The lower level is p(z|u): a network gives its mean and its scales. So the prior does not run the encoder, and what
    the components share is in the network. The density is exact, a sum over all blocks.

    The network starts at $\mu = 0$ and $\sigma = 1$: the prior starts as N(0, I), wherever its blocks are.

    Args:
        dim: dimension of z.
        num_components: number K of blocks.
        input_shape: shape of one example x.
        block_shape: how many frequencies are kept along each of the first axes of x, such as (8, 8). Further axes, such
            as colours, are kept whole.
        hidden: widths of the network's hidden layers; () makes it linear.
        weights: "uniform" or "learned".
        initial_mean: mean of the blocks that `init` draws.
        initial_scale: their standard deviation. For a start at the blocks of examples see `init_from_data`.
        start: what `init_from_data` makes blocks of: "examples" of the data, or centres of "k-means", as in `vamp`.

    Returns:
        A prior with parameters `blocks` [K, *block_shape, ...], `network`, those of the network, and `logits` [K] if
        the weights are learned. Its KL is a Monte Carlo estimate.

    Raises:
        ValueError: an argument out of range, or a block larger than the input.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.amortized_vamp(2, 10, (28, 28), block_shape=(4, 4))
        >>> print(f"{prior.apply(prior.init(jax.random.key(0))).log_prob(jnp.zeros(2)):.4f}")
        -1.8379

    References:
        Kuzina & Tomczak (2024), Hierarchical VAE with a diffusion-based VampPrior: p(z) is the integral of r(u) p(z|u),
        for u the low frequencies of the cosine transform, and p(z|u) a network of u. There r(u) is a diffusion model of
        the blocks of the data; in training u is that of the example itself, so that the objective is a bound. Here r(u)
        has K learned values, which makes the density exact, for a VAE with one level of z below u. That is ours, and so
        is the scale of a block.
    """
    check_positive_integer(dim=dim, num_components=num_components)
    input_shape = check_shape("input_shape", input_shape)
    block_shape = check_block(block_shape, input_shape)
    check_choice("weights", weights, ("uniform", "learned"))
    check_finite("initial_mean", initial_mean)
    check_positive(initial_scale=initial_scale)
    check_start(start, {})
    network = Conditioner(check_shape("hidden", hidden) if hidden != () else (), 2 * dim)
    whole_block = block_shape + input_shape[len(block_shape) :]

    def init(key: jax.Array) -> Any:
        key_blocks, key_network = jax.random.split(key)
        blocks = initial_mean + initial_scale * jax.random.normal(key_blocks, (num_components, *whole_block))
        params = {"blocks": blocks, "network": network.init(key_network, jnp.zeros(math.prod(whole_block)))["params"]}
        return params | ({"logits": jnp.zeros(num_components)} if weights == "learned" else {})

    def apply(params: Any, **context: Any) -> DiagonalMixture:
        del context
        blocks = params["blocks"]
        outputs = jax.vmap(lambda block: run_network(network, params["network"], block.reshape(-1)))(blocks)
        loc, log_scale = jnp.split(outputs, 2, axis=-1)
        scale = jnp.exp(jnp.clip(log_scale, -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))
        logits = params.get("logits", jnp.zeros(num_components, loc.dtype))
        return DiagonalMixture(jax.nn.log_softmax(logits), loc, scale)

    def init_from_data(key: jax.Array, *, x: Any, **data: Any) -> Any:
        x, params = examples_as_inputs(x, input_shape), init(key)
        groups = rows_of_classes(len(x), data, None, np.zeros(num_components, int))
        found = find_start(start, x, groups, host_generator(key))
        blocks = jax.vmap(lambda one: low_frequencies(one, block_shape))(found.inputs)
        params["blocks"] = blocks.astype(params["blocks"].dtype)
        return params | ({"logits": jnp.asarray(found.logits, blocks.dtype)} if weights == "learned" else {})

    return Prior(init, apply, {}, init_from_data)
