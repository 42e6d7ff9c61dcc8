"""A latent on the unit sphere: power spherical posteriors, with a uniform prior and with a mixture as the prior.

python -m experiments.examples.spherical_latent
python -m experiments.examples.spherical_latent --num-epochs 200
"""

import argparse

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

import vaepriors_jax as vp

DIM = 6  # of the space around the sphere


class Encoder(nn.Module):
    """An image to q(z|x): a direction of the sphere, and how sure it is."""

    @nn.compact
    def __call__(self, x):
        """The direction is normalised by `vp.power_spherical`."""
        raw = nn.Dense(DIM + 1)(nn.relu(nn.Dense(64)(x)))
        return vp.power_spherical(raw[:DIM], 1 + 10 * nn.softplus(raw[DIM]))


class Decoder(nn.Module):
    """z [6] of length 1 to p(x|z)."""

    @nn.compact
    def __call__(self, z):
        """Two dense layers."""
        return vp.bernoulli(nn.Dense(64)(nn.relu(nn.Dense(64)(z))))


def main() -> None:
    """Trains both, and prints their log p(x) on test images."""
    parser = argparse.ArgumentParser(description="Latents on the sphere with two priors.")
    parser.add_argument("--num-epochs", type=int, default=60)
    options = parser.parse_args()
    x = (load_digits().data > 7).astype("float32")  # binary images [1797, 64]
    x = jax.random.permutation(jax.random.key(1), x)
    encoder, decoder = Encoder(), Decoder()
    for prior in (vp.spherical_uniform(DIM), vp.power_spherical_mixture(DIM, 20)):
        keys = jax.random.split(jax.random.key(0), 5)
        vae = vp.VAE(encoder.apply, decoder.apply, prior)
        params = vp.VAEParams(encoder.init(keys[0], x[0]), decoder.init(keys[1], jnp.zeros(DIM)), prior.init(keys[2]))
        result = vp.fit(vae, params, keys[3], {"x": x[:1500]}, optax.adam(2e-3), num_epochs=options.num_epochs)
        found = vp.log_marginal(vae, result.params, keys[4], x[1500:], num_samples=200)
        print(f"{prior}: log p(x) = {found.mean:.2f} ± {found.standard_error:.2f} nats")


if __name__ == "__main__":
    main()
