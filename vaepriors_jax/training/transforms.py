"""What training does to a batch before the VAE sees it."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_grey

Batch = Mapping[str, jax.Array]  # {"x": [B, ...], and per-example context such as "y": [B]}


Transform = Callable[[jax.Array, Batch], Batch]


def binarize(key: jax.Array, batch: Batch) -> dict[str, jax.Array]:
    """Dynamic binarisation: draws each pixel of `x` as a Bernoulli variable of its grey value.

    Floating-point numbers are grey values in [0, 1], integers are levels from 0 to 255, and booleans become zeros and
    ones. Pass it as `transform=` to `fit` or `make_train_step`: each step then draws new pixels in the compiled
    program, and uint8 images stay uint8 in memory.

    Args:
        key: a random key.
        batch: {"x": [B, ...], ...}.

    Returns:
        The batch with zeros and ones as `x`, in the dtype of `x` if it is a floating-point dtype, else in float32.

    Raises:
        ValueError: values out of range, or integers that are zeros and ones only (where the values are known).

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vp.binarize(jax.random.key(0), {"x": jnp.array([[0.0, 1.0]])})["x"]
        Array([[0., 1.]], dtype=float32)

    References:
        Salakhutdinov & Murray (2008), On the quantitative analysis of deep belief networks, section 6.
    """
    check_grey(batch["x"])
    x = jnp.asarray(batch["x"])
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.float32
    # Uniform numbers of half precision are too coarse for small probabilities.
    probability = x.astype(jnp.promote_types(dtype, jnp.float32))
    if jnp.issubdtype(x.dtype, jnp.integer):
        probability /= 255
    uniform = jax.random.uniform(key, x.shape, probability.dtype)
    return {**batch, "x": (uniform < probability).astype(dtype)}


vars(binarize)["check_input"] = check_grey
