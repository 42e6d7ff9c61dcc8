"""Blocks of low frequencies: the first coefficients of a discrete cosine transform."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_shape


def low_frequencies(x: Any, block_shape: tuple[int, ...]) -> jax.Array:
    r"""The lowest frequencies of an image, or of any array: the first coefficients of its cosine transform.

    The orthonormal DCT-II along the first axes of x, one for each entry of `block_shape`, and of the coefficients those
    before `block_shape`. Further axes, such as colours, stay. The result is scaled by $\sqrt{M / N}$ for M coefficients
    of N entries: its mean square is at most that of x, and is that of x where x has no higher frequencies.

    Args:
        x: one array, such as an image [height, width] or [height, width, 3]; for many use `jax.vmap`.
        block_shape: how many frequencies are kept along each of the first axes.

    Returns:
        An array [*block_shape, ...].

    Raises:
        ValueError: more axes or frequencies than x has.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> block = vp.low_frequencies(jnp.full((28, 28), 0.5), (2, 2))
        >>> print(block.shape, f"{block[0, 0]:.3f}", f"{abs(block[0, 1]):.3f}")
        (2, 2) 1.000 0.000

    References:
        Ahmed, Natarajan & Rao (1974), Discrete cosine transform. As pseudo-inputs: Kuzina & Tomczak (2024),
        Hierarchical VAE with a diffusion-based VampPrior.
    """
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jax.dtypes.canonicalize_dtype(float))
    block_shape = check_block(block_shape, x.shape)
    return _corner(x, block_shape)


@partial(jax.jit, static_argnums=1)  # one program instead of one for each operation
def _corner(x: jax.Array, block_shape: tuple[int, ...]) -> jax.Array:
    gain = _gain(block_shape, x.shape)
    for axis, count in enumerate(block_shape):
        x = _along(axis, x, _cosines(x.shape[axis], count).T)
    return x / gain


@partial(jax.jit, static_argnums=(1, 2))
def of_low_frequencies(block: jax.Array, input_shape: tuple[int, ...], block_shape: tuple[int, ...]) -> jax.Array:
    """The array of `input_shape` that has the low frequencies of a block, and no others."""
    x = block * _gain(block_shape, input_shape)
    for axis, count in enumerate(block_shape):
        x = _along(axis, x, _cosines(input_shape[axis], count))
    return x


def _cosines(size: int, count: int) -> np.ndarray:
    r"""The first `count` vectors of the orthonormal DCT-II over `size` places, as columns [size, count].

    A product with these few columns takes a CPU far less time than a fast transform of all frequencies.
    """
    angles = np.pi / size * np.outer(np.arange(size) + 0.5, np.arange(count))
    return np.cos(angles) * np.sqrt(np.where(np.arange(count) == 0, 1, 2) / size)


def _along(axis: int, x: jax.Array, matrix: np.ndarray) -> jax.Array:
    """Multiplies an axis of x by a matrix."""
    product = jnp.tensordot(x, jnp.asarray(matrix, x.dtype), (axis, 1), precision=jax.lax.Precision.HIGHEST)
    return jnp.moveaxis(product, -1, axis)


def _gain(block_shape: tuple[int, ...], input_shape: tuple[int, ...]) -> float:
    return math.sqrt(math.prod(input_shape[: len(block_shape)]) / math.prod(block_shape))


def check_block(block_shape: Any, input_shape: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of a block within an input of a shape, or raises ValueError."""
    block_shape = check_shape("block_shape", block_shape)
    sizes = input_shape[: len(block_shape)]
    if len(block_shape) > len(input_shape) or any(n > size for n, size in zip(block_shape, sizes, strict=False)):
        raise ValueError(
            f"Expected `block_shape` with at most as many frequencies along each axis as the input of shape "
            f"{tuple(input_shape)} has entries; got {block_shape}. For images [height, width, ...] it is (8, 8) or so."
        )
    return block_shape
