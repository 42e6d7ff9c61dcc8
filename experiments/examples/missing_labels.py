"""A prior p(z|y) for images of which nine in ten have no label, against all labels and the labelled tenth alone.

python -m experiments.examples.missing_labels --dataset mnist_5k --num-epochs 60
"""

import argparse
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp
from experiments.data.dataset import Dataset, load
from experiments.report.example_table import ExampleTable

DIM, COMPONENTS = 16, 4


class Encoder(nn.Module):
    """An image to q(z|x); it does not read the label, which may be missing."""

    @nn.compact
    def __call__(self, x):
        """Two hidden layers."""
        h = nn.relu(nn.Dense(128)(nn.relu(nn.Dense(128)(x.ravel()))))
        loc, log_scale = jnp.split(nn.Dense(2 * DIM)(h), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class Decoder(nn.Module):
    """z to p(x|z) over binary images."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z):
        """Two hidden layers."""
        h = nn.relu(nn.Dense(128)(nn.relu(nn.Dense(128)(z))))
        return vp.bernoulli(nn.Dense(self.shape[0] * self.shape[1])(h).reshape(self.shape))


def train(x: Any, y: np.ndarray, data: Dataset, num_epochs: int, seed: int) -> tuple[vp.VAE, vp.VAEParams]:
    """Trains a VAE whose prior has a mixture for each class, on labels of which some may be missing; returns both.

    A third of the epochs are without labels, with N(0, I). The mixtures then start from the encodings that have labels.
    """
    num_classes = int(np.max(data.train["y"])) + 1
    keys = jax.random.split(jax.random.key(seed), 5)
    encoder, decoder = Encoder(), Decoder(data.image_shape)
    first = max(1, num_epochs // 3)
    plain = vp.VAE(encoder.apply, decoder.apply, vp.standard_normal(DIM))
    start = vp.VAEParams(encoder.init(keys[0], x[0]), decoder.init(keys[1], jnp.zeros(DIM)), {})
    options = {"batch_size": 100, "transform": data.transform, "progress": False}
    warm_up = vp.Objective(warmup_epochs=first)
    found = vp.fit(
        plain, start, keys[2], {"x": x}, optax.adam(2e-3), num_epochs=first, objective=warm_up, **options
    ).params

    prior = vp.semi_supervised(
        vp.conditional_mixture(DIM, COMPONENTS, num_classes=num_classes), (1 / num_classes,) * num_classes
    )
    vae = plain._replace(prior=prior)
    z = jax.vmap(lambda x: plain.posterior(found, x).mean())(x)
    params = found._replace(prior=vp.init_from_data(prior, keys[3], z=z, y=y))
    # Without labels, so that the best epoch is that of log p(x).
    validation = {"x": data.validation["x"], "y": missing(data.validation["x"])}
    epochs = num_epochs - first
    result = vp.fit(
        vae,
        params,
        keys[4],
        {"x": x, "y": y},
        optax.adam(2e-3),
        num_epochs=max(1, epochs),
        validation=validation,
        **options,
    )
    return vae, result.params


def missing(x: Any) -> np.ndarray:
    """A missing label for each example."""
    return np.full(len(x), -1)


def classify(vae: vp.VAE, params: vp.VAEParams, x: Any) -> jax.Array:
    """The most probable class of each image [N], by p(y|z) at the mean of q(z|x)."""
    prior = vae.latent_prior(params, y=-1)
    return jax.vmap(lambda x: prior.responsibilities(vae.posterior(params, x).mean()).argmax())(x)


def main() -> None:
    """Prints a table of log p(x) of test images, and of the share that is classified rightly."""
    parser = argparse.ArgumentParser(description="A conditional prior with missing labels.")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--num-epochs", type=int, default=60)
    parser.add_argument("--num-seeds", type=int, default=1)
    parser.add_argument("--num-samples", type=int, default=500, help="samples of z for log p(x)")
    parser.add_argument("--results", help="write the table to this .json file, too")
    options = parser.parse_args()

    data, table, key = load(options.dataset), ExampleTable("labels"), jax.random.key(9)
    x, labels, test = data.train["x"], np.asarray(data.train["y"]), data.test["x"]
    for seed in range(options.num_seeds):
        known = np.random.default_rng(seed).random(len(labels)) < 0.1
        partly = np.where(known, labels, -1)
        runs = {
            "all": (x, labels),
            "a tenth, the others missing": (x, partly),
            "a tenth, the others left out": (x[known], labels[known]),
        }
        for name, (images, y) in runs.items():
            vae, params = train(images, y, data, options.num_epochs, seed)
            found = vp.log_marginal(vae, params, key, test, y=missing(test), num_samples=options.num_samples)
            right = np.asarray(classify(vae, params, test)) == np.asarray(data.test["y"])
            table.add(name, seed, found.values, {"classified rightly, %": 100 * right.mean()})
    print(table.text())
    if options.results:
        table.write(options.results, options.dataset, vars(options))


if __name__ == "__main__":
    main()
