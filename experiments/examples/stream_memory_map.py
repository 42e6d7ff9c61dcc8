"""Trains on images in a file, of which a few batches are in memory at a time.

python -m experiments.examples.stream_memory_map
"""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp

SHAPE = (16, 16, 3)
BATCH_SIZE = 50


class Encoder(nn.Module):
    """An image of bytes to q(z|x)."""

    @nn.compact
    def __call__(self, x):
        """The bytes become floats on the device."""
        x = x.astype(jnp.float32) / 255
        for channels in (16, 32):
            x = nn.relu(nn.Conv(channels, (3, 3), strides=2)(x))
        loc, log_scale = jnp.split(nn.Dense(2 * 8)(x.ravel()), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class Decoder(nn.Module):
    """z to p(x|z) over the 256 levels of a byte."""

    @nn.compact
    def __call__(self, z):
        """Two numbers for each pixel and channel."""
        x = nn.relu(nn.Dense(256)(z))
        loc, log_scale = jnp.split(nn.Dense(2 * math.prod(SHAPE))(x).reshape(*SHAPE, 2), 2, axis=-1)
        return vp.discretized_logistic(nn.sigmoid(loc[..., 0]), jnp.exp(log_scale[..., 0] - 2))


np.save("images.npy", np.random.default_rng(0).integers(0, 256, (1000, *SHAPE), np.uint8))
images = np.load("images.npy", mmap_mode="r")
train, validation = images[:900], images[900:]


def batches(epoch):
    """Shuffled anew by the number of the epoch; a run that is resumed reads what it would have read."""
    order = np.random.default_rng(epoch).permutation(len(train))
    for start in range(0, len(train), BATCH_SIZE):
        yield {"x": train[np.sort(order[start : start + BATCH_SIZE])]}  # sorted: faster to read


encoder, decoder, prior = Encoder(), Decoder(), vp.mixture(8, num_components=5)
key_encoder, key_decoder, key_prior, key_fit, key_test = jax.random.split(jax.random.key(0), 5)
vae = vp.VAE(encoder.apply, decoder.apply, prior)
params = vp.VAEParams(
    encoder.init(key_encoder, train[0]), decoder.init(key_decoder, jnp.zeros(8)), prior.init(key_prior)
)
held_out = [{"x": validation[start : start + BATCH_SIZE]} for start in range(0, len(validation), BATCH_SIZE)]
result = vp.fit(vae, params, key_fit, batches, optax.adam(1e-3), num_epochs=2, validation=held_out)
estimate = vp.log_marginal(vae, result.params, key_test, held_out, num_samples=20)
print(f"log p(x) >= {estimate.mean:.1f} +- {estimate.standard_error:.1f} nats")
