"""A latent of the shape [2, 2, 3] for convolutional networks, with a VampPrior.

python -m experiments.examples.spatial_latent
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

import vaepriors_jax as vp

LATENT = (2, 2, 3)


class Encoder(nn.Module):
    """An image [8, 8] to q(z|x) over an array [2, 2, 3]."""

    @nn.compact
    def __call__(self, x):
        """Halves height and width twice."""
        h = x[..., None]
        for channels in (16, 32):
            h = nn.relu(nn.Conv(channels, (3, 3), strides=2)(h))
        return vp.normal_diag(nn.Conv(3, (1, 1))(h), jnp.exp(nn.Conv(3, (1, 1))(h)))


class Decoder(nn.Module):
    """An array z [2, 2, 3] to p(x|z) over a binary image."""

    @nn.compact
    def __call__(self, z):
        """Doubles height and width twice."""
        for channels in (32, 16):
            z = nn.relu(nn.ConvTranspose(channels, (3, 3), strides=(2, 2))(z))
        return vp.bernoulli(nn.Conv(1, (3, 3))(z)[..., 0])


x = (load_digits().images > 7).astype("float32")  # binary images [1797, 8, 8]
encoder, decoder, prior = Encoder(), Decoder(), vp.vamp(num_components=30, input_shape=(8, 8))
keys = jax.random.split(jax.random.key(0), 5)
vae = vp.VAE(encoder.apply, decoder.apply, prior, latent_shape=LATENT)
params = vp.VAEParams(encoder.init(keys[0], x[0]), decoder.init(keys[1], jnp.zeros(LATENT)), prior.init(keys[2]))
result = vp.fit(vae, params, keys[3], {"x": x[:1500]}, optax.adam(2e-3), num_epochs=5)
estimate = vp.log_marginal(vae, result.params, keys[4], x[1500:], num_samples=50)
print(f"log p(x) = {estimate.mean:.1f} ± {estimate.standard_error:.1f} nats")
print(f"z is one vector for the prior: {vae.latent_prior(result.params).event_shape}")
