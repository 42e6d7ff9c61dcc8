"""A convolutional VAE with BatchNorm and Dropout, in Flax Linen: a VampPrior beside N(0, I).

python -m experiments.examples.batch_norm_linen
python -m experiments.examples.batch_norm_linen --dataset mnist --num-epochs 8 --latent-dim 32
"""

import argparse

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import vaepriors_jax as vp
from experiments.data.dataset import load
from experiments.report.example_table import ExampleTable


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


def train(prior, data, options):
    """Trains a VAE with a prior that starts from data where it can; returns both."""
    keys, dim = jax.random.split(jax.random.key(0), 4), options.latent_dim
    encoder, decoder = vp.linen_network(Encoder(dim)), vp.linen_network(Decoder(data.image_shape))
    images = data.train["x"]
    start = vp.init_from_data(prior, keys[2], x=images) if prior.init_from_data else prior.init(keys[2])
    params = vp.VAEParams(encoder.init(keys[0], images[0]), decoder.init(keys[1], jnp.zeros(dim)), start)
    vae = vp.VAE(encoder, decoder, prior)
    steps = options.num_epochs * (len(images) // 100)
    result = vp.fit(
        vae,
        params,
        keys[3],
        {"x": images},
        optax.adam(optax.cosine_decay_schedule(2e-3, steps)),
        num_epochs=options.num_epochs,
        batch_size=100,
        validation={"x": data.validation["x"]},
        transform=data.transform,
        objective=vp.Objective(warmup_epochs=max(1, options.num_epochs // 4)),
        progress=str(prior),
    )
    return vae, result.params


def main() -> None:
    """Prints a table of log p(x) of test images with each prior."""
    parser = argparse.ArgumentParser(description="A convolutional VAE with BatchNorm and Dropout: two priors.")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--num-epochs", type=int, default=20)
    parser.add_argument("--latent-dim", type=int, default=16)
    parser.add_argument("--num-samples", type=int, default=100, help="samples of z for log p(x)")
    parser.add_argument("--results", help="write the table to this .json file, too")
    options = parser.parse_args()

    data, table = load(options.dataset), ExampleTable()
    shape, dim = data.image_shape, options.latent_dim
    priors = {
        "N(0, I)": vp.standard_normal(dim),
        "VampPrior, 100 pseudo-inputs": vp.vamp(100, shape, weights="learned"),
    }
    x = data.test["x"][:1000]
    for name, prior in priors.items():
        vae, params = train(prior, data, options)
        found = vp.log_marginal(vae, params, jax.random.key(9), x, num_samples=options.num_samples)
        elbo = vp.evaluate_elbo(vae, params, jax.random.key(9), x)
        table.add(name, 0, found.values, {"ELBO": elbo.elbo.mean(), "KL": elbo.kl.mean()})
    print(table.text())
    if options.results:
        table.write(options.results, options.dataset, vars(options))


if __name__ == "__main__":
    main()
