"""Colour images with a discretised mixture of logistics: N(0, I), a mixture and a VampPrior side by side.

The images are made here: a disc on a dark ground, in one of three colours and near one of three places, so that the
truth has nine clusters in a few dimensions.

python -m experiments.examples.colour_images
python -m experiments.examples.colour_images --save my_images.npz  # for `--dataset` of the programs
"""

import argparse

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp
from experiments.report.example_table import ExampleTable

SIZE, DIM, COMPONENTS = 16, 6, 3
COLOURS = np.array([[0.9, 0.2, 0.1], [0.1, 0.8, 0.3], [0.2, 0.3, 0.9]])
PLACES = np.array([[4.0, 4.0], [4.0, 11.0], [11.0, 8.0]])


def make_images(num: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [num, 16, 16, 3] as bytes, and the number of their colour."""
    rng = np.random.default_rng(seed)
    colour, place = rng.integers(0, 3, (2, num))
    centre, radius = PLACES[place] + rng.normal(0, 0.7, (num, 2)), rng.uniform(2, 4, num)
    light = rng.uniform(0.6, 1.0, num)[:, None, None, None]
    distance = np.hypot(*(np.indices((SIZE, SIZE))[:, None] - centre.T[..., None, None]))
    inside = 1 / (1 + np.exp(2 * (distance - radius[:, None, None])))[..., None]
    images = inside * light * COLOURS[colour][:, None, None] + 0.1 + rng.normal(0, 0.02, (num, SIZE, SIZE, 1))
    return np.round(255 * np.clip(images, 0, 1)).astype(np.uint8), colour


class Encoder(nn.Module):
    """An image [16, 16, 3] to q(z|x)."""

    @nn.compact
    def __call__(self, x):
        """Reads bytes as numbers from 0 to 1."""
        x = nn.relu(nn.Dense(128)(x.reshape(-1) / 255))
        loc, log_scale = jnp.split(nn.Dense(2 * DIM)(nn.relu(nn.Dense(128)(x))), 2)
        return vp.normal_diag(loc, jnp.exp(jnp.clip(log_scale, -4, 2)))


class Decoder(nn.Module):
    """z to p(x|z) over colour images; the channels of a pixel depend on each other."""

    @nn.compact
    def __call__(self, z):
        """Ten numbers for each component of each pixel."""
        x = nn.relu(nn.Dense(128)(nn.relu(nn.Dense(128)(z))))
        raw = nn.Dense(SIZE * SIZE * 10 * COMPONENTS)(x).reshape(SIZE, SIZE, 10, COMPONENTS)
        logits, loc, scale, coefficients = jnp.split(raw, (1, 4, 7), axis=-2)
        return vp.discretized_logistic_mixture(
            logits[..., 0, :], 0.5 + 0.25 * loc, 1e-3 + nn.softplus(scale - 2), coefficients=jnp.tanh(coefficients)
        )


def main() -> None:
    """Trains a VAE with each prior, and prints log p(x) of test images in nats and in bits per dimension."""
    parser = argparse.ArgumentParser(description="Colour images: three priors.")
    parser.add_argument("--num-epochs", type=int, default=10)
    parser.add_argument("--num-images", type=int, default=2000, help="training images; a quarter as many for the test")
    parser.add_argument("--num-samples", type=int, default=50, help="samples of z for log p(x)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", help="only write the images to this .npz file")
    parser.add_argument("--results", help="write the table to this .json file, too")
    options = parser.parse_args()

    train, colour = make_images(options.num_images, seed=0)
    if options.save:
        np.savez(options.save, images=train, labels=colour)
        return
    validation, test = (make_images(options.num_images // 4, seed)[0] for seed in (1, 2))
    table = ExampleTable()
    keys = jax.random.split(jax.random.key(options.seed), 5)
    networks = Encoder().init(keys[0], train[0]), Decoder().init(keys[1], jnp.zeros(DIM))
    vamp = vp.vamp(20, (SIZE, SIZE, 3), bounds=(0, 255))
    for name, prior, start in (
        ("N(0, I)", standard := vp.standard_normal(DIM), standard.init(keys[2])),
        ("mixture, 20 components", mixture := vp.mixture(DIM, num_components=20), mixture.init(keys[2])),
        ("VampPrior, 20 pseudo-inputs", vamp, vp.init_from_data(vamp, keys[2], x=train)),
    ):
        vae = vp.VAE(Encoder().apply, Decoder().apply, prior)
        result = vp.fit(
            vae,
            vp.VAEParams(*networks, start),
            keys[3],
            {"x": train},
            optax.adam(2e-3),
            num_epochs=options.num_epochs,
            validation={"x": validation},
            objective=vp.Objective(warmup_epochs=options.num_epochs // 4),
            progress=name,
        )
        found = vp.log_marginal(vae, result.params, keys[4], test, num_samples=options.num_samples)
        table.add(name, options.seed, found.values, {"bits / dim": vp.bits_per_dim(found.mean, SIZE * SIZE * 3)})
    print(table.text())
    if options.results:
        table.write(options.results, "colour images", vars(options))


if __name__ == "__main__":
    main()
