"""Priors p(z|y) for a vector y: the ink, the slant and the width of a digit.

Encoder and decoder read the image and z alone, so that y enters by the prior. The first row is N(0, I), which reads
none of it: log p(x). The others are log p(x|y).

python -m experiments.examples.vector_conditions --dataset mnist_5k --num-epochs 60
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

DIM, NAMES = 16, ("ink", "slant", "width")


class Encoder(nn.Module):
    """An image to q(z|x)."""

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


def describe(images: Any) -> np.ndarray:
    """Ink, slant and width [N, 3] of grey images, from their moments."""
    grey = np.asarray(images, np.float64)
    rows, columns = np.mgrid[: grey.shape[1], : grey.shape[2]]
    ink = grey.sum((1, 2))

    def mean(values: np.ndarray) -> np.ndarray:
        return (grey * values).sum((1, 2)) / ink

    down, right = (place - mean(place)[:, None, None] for place in (rows, columns))
    return np.stack([ink, mean(down * right) / mean(down**2), np.sqrt(mean(right**2))], axis=1)


def priors() -> dict[str, vp.Prior]:
    """N(0, I), which reads no y, and priors that read it as a vector."""
    size = len(NAMES)
    gaussian = vp.conditional_normal(DIM, condition_dim=size)
    return {
        "N(0, I)": vp.standard_normal(DIM),
        "Gaussian": gaussian,
        "flow": vp.transformed(gaussian, vp.repeat(vp.affine_coupling(DIM, condition_dim=size), 4)),
        "autoregressive mixture": vp.autoregressive_mixture(DIM, condition_dim=size),
        "exemplar, ten nearest": vp.exemplar(DIM, num_neighbors=10, condition_dim=size),
    }


def conditions(dataset: str) -> dict[str, np.ndarray]:
    """The vectors of the images of each split, standardised by those of the training images."""
    grey = load(dataset, binarization="none")
    found = {name: describe(getattr(grey, name)["x"]) for name in ("train", "validation", "test")}
    mean, scale = found["train"].mean(0), found["train"].std(0)
    return {name: ((values - mean) / scale).astype(np.float32) for name, values in found.items()}


def train(prior: vp.Prior, data: Dataset, y: dict[str, np.ndarray], num_epochs: int, seed: int) -> Any:
    """Trains a VAE with a prior; returns it with its parameters."""
    keys = jax.random.split(jax.random.key(seed), 4)
    encoder, decoder = Encoder(), Decoder(data.image_shape)
    vae, x = vp.VAE(encoder.apply, decoder.apply, prior), data.train["x"]
    params = vp.VAEParams(
        encoder.init(keys[0], x[0]), decoder.init(keys[1], jnp.zeros(DIM)), jax.jit(prior.init)(keys[2])
    )
    examples = {"x": x, "y": y["train"]}
    if prior.init_state is not None:  # the exemplars, of which training leaves one out
        params = vp.init_prior_state(vae, params, **examples)
        examples["index"] = np.arange(len(x))
    result = vp.fit(
        vae,
        params,
        keys[3],
        examples,
        optax.adam(2e-3),
        num_epochs=num_epochs,
        batch_size=100,
        validation={"x": data.validation["x"], "y": y["validation"]},
        transform=data.transform,
        progress=False,
    )
    return vae, result.params


def main() -> None:
    """Prints a table of log p(x|y) of test images with each prior."""
    parser = argparse.ArgumentParser(description="Priors of a vector condition.")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--num-epochs", type=int, default=60)
    parser.add_argument("--num-seeds", type=int, default=1)
    parser.add_argument("--num-samples", type=int, default=500, help="samples of z for log p(x|y)")
    parser.add_argument("--results", help="write the table to this .json file, too")
    options = parser.parse_args()

    data, y, table = load(options.dataset), conditions(options.dataset), ExampleTable()
    for seed in range(options.num_seeds):
        for name, prior in priors().items():
            vae, params = train(prior, data, y, options.num_epochs, seed)
            found = vp.log_marginal(
                vae, params, jax.random.key(9), data.test["x"], y=y["test"], num_samples=options.num_samples
            )
            table.add(name, seed, found.values, {})
    print(table.text())
    if options.results:
        table.write(options.results, options.dataset, vars(options))


if __name__ == "__main__":
    main()
