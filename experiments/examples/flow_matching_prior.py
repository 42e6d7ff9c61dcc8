"""Flow-matching and diffusion priors, fitted to the encodings of a trained VAE or trained with it.

It needs the extra `diffrax`. The prior of the last row was trained with its VAE, by the bound of its SDE. "training's
bound" is what training maximises, on the test images: the ELBO, and in the last row a bound on it with the density of
the SDE. log p(x) is with the density of the ODE.

python -m experiments.examples.flow_matching_prior --dataset mnist_5k --num-epochs 40 --num-steps 5000
"""

import argparse
import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp
from experiments.data.dataset import Dataset, load
from experiments.report.example_table import ExampleTable


class Encoder(nn.Module):
    """An image to q(z|x)."""

    dim: int

    @nn.compact
    def __call__(self, x):
        """Two hidden layers."""
        h = nn.relu(nn.Dense(128)(nn.relu(nn.Dense(128)(x.ravel()))))
        loc, log_scale = jnp.split(nn.Dense(2 * self.dim)(h), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class Decoder(nn.Module):
    """z to p(x|z) over binary images."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z):
        """Two hidden layers."""
        h = nn.relu(nn.Dense(128)(nn.relu(nn.Dense(128)(z))))
        return vp.bernoulli(nn.Dense(self.shape[0] * self.shape[1])(h).reshape(self.shape))


def train(
    data: Dataset, prior: vp.Prior, dim: int, seed: int, num_epochs: int, bound: bool = False
) -> tuple[vp.VAE, vp.VAEParams]:
    """Trains a VAE with a prior; with `bound` each example has an `index`, which chooses the bound of the SDE."""
    keys = jax.random.split(jax.random.key(seed), 4)
    encoder, decoder = Encoder(dim), Decoder(data.image_shape)
    vae = vp.VAE(encoder.apply, decoder.apply, prior)
    params = vp.VAEParams(
        encoder.init(keys[0], data.train["x"][0]), decoder.init(keys[1], jnp.zeros(dim)), prior.init(keys[3])
    )
    x = data.train["x"]
    result = vp.fit(
        vae,
        vp.init_prior_state(vae, params) if bound else params,
        keys[2],
        {"x": x, "index": np.arange(len(x))} if bound else {"x": x},
        optax.adam(2e-3),
        num_epochs=num_epochs,
        batch_size=100,
        validation={"x": data.validation["x"]},
        transform=data.transform,
        progress=False,
    )
    # Once more, for the errors of the density that was trained.
    return vae, vp.init_prior_state(vae, result.params) if bound else result.params


def main() -> None:
    """Prints a table of log p(x) of test images with each prior, and the errors of the densities."""
    parser = argparse.ArgumentParser(description="Flow-matching and diffusion priors, fitted to encodings.")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--latent-dim", type=int, default=16)
    parser.add_argument("--num-epochs", type=int, default=40)
    parser.add_argument("--num-steps", type=int, default=2000, help="steps of the fit of each prior")
    parser.add_argument("--num-seeds", type=int, default=1)
    parser.add_argument("--num-images", type=int, default=100, help="test images for log p(x)")
    parser.add_argument("--num-samples", type=int, default=100, help="samples of z for log p(x)")
    parser.add_argument("--no-fits", action="store_true", help="N(0, I) and the prior trained with its VAE alone")
    parser.add_argument("--results", help="write the table to this .json file, too")
    options = parser.parse_args()

    data, table, dim = load(options.dataset), ExampleTable("prior"), options.latent_dim
    priors = {
        "mixture": vp.mixture(dim, 50),
        "flow matching": vp.flow_matching(dim),
        "diffusion": vp.flow_matching(dim, path="cosine"),
        "flow matching, 16 probes": vp.flow_matching(dim, num_probes=16),
    }
    if options.no_fits:
        priors = {}
    x = data.test["x"][: options.num_images]

    def add(name: str, seed: int, vae: vp.VAE, params: vp.VAEParams, key: jax.Array, bound: Any, began: float) -> None:
        seconds, began = {"seconds to fit": time.perf_counter() - began}, time.perf_counter()
        found = vp.log_marginal(vae, params, key, x, num_samples=options.num_samples)
        error = 0.0 if found.normalizer_error is None else found.normalizer_error.mean()
        seconds["seconds for log p(x)"] = time.perf_counter() - began
        table.add(name, seed, found.values, {"training's bound": bound, "error of the density": error} | seconds)

    for seed in range(options.num_seeds):
        began = time.perf_counter()
        vae, params = train(data, vp.standard_normal(dim), dim, seed, options.num_epochs)
        key_fit, key_test = jax.random.split(jax.random.key(seed + 100))
        bound = vp.evaluate_elbo(vae, params, key_test, x).elbo.mean()
        add("N(0, I)", seed, vae, params, key_test, bound, began)
        for name, prior in priors.items():
            began, images = time.perf_counter(), data.fixed_train["x"]
            fitted = vp.fit_prior(prior, vae, params, key_fit, images, num_steps=options.num_steps)
            add(name, seed, vae._replace(prior=prior), fitted, key_test, bound, began)
        began = time.perf_counter()
        vae, params = train(data, vp.diffusion(dim), dim, seed, options.num_epochs, bound=True)
        # With an `index` the ELBO takes the bound of the SDE, as in training.
        bound = vp.evaluate_elbo(vae, params, key_test, x, index=np.arange(len(x))).elbo.mean()
        add("diffusion, trained with the VAE", seed, vae, params, key_test, bound, began)
    print(table.text())
    if options.results:
        table.write(options.results, options.dataset, vars(options))


if __name__ == "__main__":
    main()
