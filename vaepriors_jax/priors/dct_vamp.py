"""The VampPrior whose pseudo-inputs are blocks of low frequencies."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Inner, Prior
from vaepriors_jax.checks import check_positive, check_shape
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.bounds import check_bounds, from_unit
from vaepriors_jax.priors.low_frequencies import check_block, low_frequencies, of_low_frequencies
from vaepriors_jax.priors.vamp import check_initial_mean, vamp


@factory
def dct_vamp(
    num_components: int,
    input_shape: tuple[int, ...],
    block_shape: tuple[int, ...],
    *,
    weights: str = "uniform",
    num_classes: int | None = None,
    encoder_reads_class: bool = False,
    condition: str = "y",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    initial_mean: float = 0.5,
    initial_scale: float = 0.1,
    start: str = "examples",
) -> Prior:
    r"""VampPrior of low frequencies, $p(z) = \sum_k w_k\, q(z | g(u_k))$ with g an inverse cosine transform.

    A pseudo-input is an image of which only the lowest frequencies $u_k$ are parameters, such as 8 by 8 coefficients in
    place of 28 by 28 pixels. It is smooth, and has a twelfth of the parameters. g maps a block to the array that has
    these frequencies and no others (see `vp.low_frequencies`), and that one into the bounds of the data, as `vamp`
    does. A block as large as the input gives all pseudo-inputs that `vamp` can have.

    Args:
        num_components: number K of pseudo-inputs.
        input_shape: shape of one example x.
        block_shape: how many frequencies are kept along each of the first axes of x, such as (8, 8). Further axes, such
            as colours, are kept whole.
        weights: "uniform" or "learned".
        num_classes: if given, the prior is conditional, p(z|y), as in `vamp`.
        encoder_reads_class: the encoder reads `y` too; it gets the class of each component.
        condition: the name of y, with `num_classes`.
        bounds: the least and the largest value that data can have, or None, as in `vamp`.
        initial_mean: the grey of the pseudo-inputs that `init` draws, as in `vamp`.
        initial_scale: standard deviation of the parameters that `init` draws around it: about that of the pixels.
        start: what `init_from_data` makes blocks of, "examples" or "k-means", as in `vamp`.

    Context:
        encode: the encoder with its parameters, from x to q(z|x); a `VAE` passes its own.
        y: the label, with `num_classes`; or an entry of the name that `condition` gives.

    Returns:
        A prior with parameters `blocks` [K, *block_shape, ...], and `logits` [K] if the weights are learned.
        `vp.pseudo_inputs` gives the pseudo-inputs. Its KL is a Monte Carlo estimate.

    Raises:
        ValueError: an argument out of range, or a block larger than the input.

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> prior = vp.dct_vamp(10, (28, 28), block_shape=(8, 8))
        >>> params = prior.init(jax.random.key(0))
        >>> params["blocks"].shape, vp.pseudo_inputs(prior, params).shape
        ((10, 8, 8), (10, 28, 28))

    References:
        Kuzina & Tomczak (2024), Hierarchical VAE with a diffusion-based VampPrior: pseudo-inputs that are low
        frequencies of the cosine transform. There a block is that of the example itself in training, a diffusion model
        draws blocks for generation, and a network maps them to p(z|u) (see `amortized_vamp`), so that the objective is
        a bound. The form here is ours: K learned blocks in a VampPrior, whose density is exact. Tomczak & Welling
        (2018), VAE with a VampPrior, eq. 9.
    """
    input_shape = check_shape("input_shape", input_shape)
    block_shape = check_block(block_shape, input_shape)
    bounds = check_bounds(bounds)
    check_initial_mean(initial_mean, bounds)
    check_positive(initial_scale=initial_scale)
    inner = vamp(
        num_components,
        input_shape,
        weights=weights,
        num_classes=num_classes,
        encoder_reads_class=encoder_reads_class,
        condition=condition,
        bounds=bounds,
        start=start,
    )

    def to_block(raw: jax.Array) -> jax.Array:
        return low_frequencies(raw, block_shape)

    def init(key: jax.Array) -> Any:
        grey = jnp.full(input_shape, float(initial_mean))
        block = to_block(grey if bounds is None else from_unit(grey))
        blocks = block + initial_scale * jax.random.normal(key, (num_components, *block.shape))
        return {"blocks": blocks} | ({"logits": jnp.zeros(num_components)} if weights == "learned" else {})

    def params_of_vamp(params: Any) -> Any:
        inputs = jax.vmap(lambda block: of_low_frequencies(block, input_shape, block_shape))(params["blocks"])
        return {"pseudo_inputs": inputs} | {name: params[name] for name in ("logits",) if name in params}

    def apply(params: Any, *, encode: Callable[..., distrax.Distribution], **context: Any) -> Mixture:
        return inner.apply(params_of_vamp(params), encode=encode, **context)

    def init_from_data(key: jax.Array, *, x: Any, **data: Any) -> Any:
        assert inner.init_from_data is not None
        found = inner.init_from_data(key, x=x, **data)
        return {"blocks": jax.vmap(to_block)(found.pop("pseudo_inputs"))} | found

    return Prior(init, apply, {}, init_from_data, Inner(inner, params_of_vamp))
