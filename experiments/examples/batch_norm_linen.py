"""A convolutional VAE with BatchNorm and Dropout, in Flax Linen: a VampPrior beside N(0, I).

python -m experiments.examples.batch_norm_linen
python -m experiments.examples.batch_norm_linen --dataset mnist --num-epochs 20
"""

import argparse

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import vaepriors_jax as vp
from experiments.data.dataset import load


class Encoder(nn.Module):
    """A binary image [height, width] to q(z|x)."""

    dim: int

    @nn.compact
    def __call__(self, x, train):
        """BatchNorm averages over the pixels of an image and over the axis "batch"."""
        x = x[..., None]
        for channels in (16, 32):
            x = nn.Conv(channels, (3, 3), strides=2, use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(not train, axis_name="batch", momentum=0.95)(x))
        x = nn.Dropout(0.1, deterministic=not train)(x.ravel())
        loc, log_scale = jnp.split(nn.Dense(2 * self.dim)(x), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class Decoder(nn.Module):
    """z to p(x|z) over binary images, whose height and width 4 divides."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z, train):
        """Doubles height and width twice."""
        height, width = self.shape
        x = nn.Dense(height // 4 * (width // 4) * 32)(z).reshape(height // 4, width // 4, 32)
        for channels in (16, 8):
            x = nn.ConvTranspose(channels, (3, 3), strides=(2, 2), use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(not train, axis_name="batch", momentum=0.95)(x))
        return vp.bernoulli(nn.Conv(1, (3, 3))(x)[..., 0])


def main() -> None:
    """Trains a VAE with each prior, and prints log p(x) of test images."""
    parser = argparse.ArgumentParser(description="A convolutional VAE with BatchNorm and Dropout: two priors.")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--num-epochs", type=int, default=20)
    parser.add_argument("--num-samples", type=int, default=100, help="samples of z for log p(x)")
    options = parser.parse_args()

    data, dim, keys = load(options.dataset), 16, jax.random.split(jax.random.key(0), 5)
    encoder, decoder = vp.linen_network(Encoder(dim)), vp.linen_network(Decoder(data.image_shape))
    networks = encoder.init(keys[0], data.test["x"][0]), decoder.init(keys[1], jnp.zeros(dim))
    for prior in (vp.standard_normal(dim), vp.vamp(100, data.image_shape, weights="learned")):
        vae, params = vp.VAE(encoder, decoder, prior), vp.VAEParams(*networks, prior.init(keys[2]))
        result = vp.fit(
            vae,
            params,
            keys[3],
            {"x": data.train["x"]},
            optax.adam(2e-3),
            num_epochs=options.num_epochs,
            validation={"x": data.validation["x"]},
            transform=data.transform,
            objective=vp.Objective(warmup_epochs=max(1, options.num_epochs // 4)),
            progress=str(prior),
        )
        estimate = vp.log_marginal(vae, result.params, keys[4], data.test["x"][:500], num_samples=options.num_samples)
        print(f"{prior}: log p(x) = {estimate.mean:.2f} ± {estimate.standard_error:.2f} nats")


if __name__ == "__main__":
    main()
