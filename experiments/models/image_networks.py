"""Trunks of convolutions for encoder and decoder: a small gated one and a residual one, for one image of any size.

A convolution is one product of patches: replicas, whose kernels differ, are then a batch of products, where XLA would
make slow grouped convolutions of them.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from experiments.models.networks import GatedDense, he_normal


def patches(image: jax.Array, stride: int = 1) -> jax.Array:
    """The 3x3 patch around each pixel, or every second: [height, width, C] to [height / stride, width / stride, 9 C].

    Beyond the border are zeros; sizes are rounded up.
    """
    height, width = (-(-size // stride) for size in image.shape[:2])
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    rows = [slice(i, i + stride * (height - 1) + 1, stride) for i in range(3)]
    columns = [slice(j, j + stride * (width - 1) + 1, stride) for j in range(3)]
    return jnp.concatenate([padded[row, column] for row in rows for column in columns], axis=-1)


def spread(image: jax.Array, height: int, width: int) -> jax.Array:
    """Spreads the channels of each pixel over 2x2 pixels: [h, w, 4 C] to [height, width, C], cut from [2 h, 2 w]."""
    h, w, channels = image.shape
    blocks = image.reshape(h, w, 2, 2, channels // 4).transpose(0, 2, 1, 3, 4)
    return blocks.reshape(2 * h, 2 * w, channels // 4)[:height, :width]


class Residual(nn.Module):
    """h + f(h) with two convolutions in f, the second of which starts at zero: deep stacks start as the identity."""

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Keeps the shape [height, width, C]."""
        width = hidden.shape[-1]
        inner = nn.Dense(width, kernel_init=he_normal)(patches(nn.silu(hidden)))
        return hidden + nn.Dense(width, kernel_init=nn.initializers.zeros)(patches(nn.silu(inner)))


class Down(nn.Module):
    """An image [height, width] or [height, width, C] to features, halving its size once for each number of channels."""

    channels: tuple[int, ...]
    residual: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Encodes one image."""
        hidden = x[..., None] if x.ndim == 2 else x
        for width in self.channels:
            halved = patches(hidden, stride=2)
            if self.residual:
                hidden = Residual()(nn.Dense(width, kernel_init=he_normal)(halved))
            else:
                hidden = GatedDense(width)(halved)
        return nn.silu(hidden) if self.residual else hidden


class Up(nn.Module):
    """A vector to raw outputs [height, width, num_outputs], the mirror image of `Down`."""

    image_shape: tuple[int, ...]
    channels: tuple[int, ...]
    num_outputs: int
    residual: bool

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """Decodes one vector."""
        sizes = [self.image_shape[:2]]
        for _ in self.channels:
            sizes.append(tuple(-(-size // 2) for size in sizes[-1]))
        height, width = sizes.pop()
        start = (height, width, self.channels[-1])
        hidden = GatedDense(height * width * self.channels[-1])(hidden).reshape(start)
        for (height, width), channels in zip(reversed(sizes), (*self.channels[-2::-1], self.channels[0]), strict=True):
            if self.residual:
                finer = nn.Dense(4 * channels, kernel_init=he_normal)(hidden)
                hidden = Residual()(spread(finer, height, width))
            else:
                hidden = spread(GatedDense(4 * channels)(patches(hidden)), height, width)
        hidden = nn.silu(hidden) if self.residual else hidden
        return nn.Dense(self.num_outputs, kernel_init=he_normal)(hidden)
