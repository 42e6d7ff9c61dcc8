"""Objectives that are said to keep latents in use: one VAE trained with each, and one with a prior that commits it.

python -m experiments.examples.objectives --dataset mnist_5k --num-epochs 40
"""

import argparse
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import vaepriors_jax as vp
from experiments.data.dataset import Dataset, load
from experiments.report.example_table import ExampleTable
from vaepriors_jax.evaluation.latents import active_units


class Encoder(nn.Module):
    """An image to q(z|x), whose KL is at least a committed rate if there is one."""

    dim: int
    rate: float | None = None

    @nn.compact
    def __call__(self, x):
        """Two hidden layers."""
        h = nn.relu(nn.Dense(128)(nn.relu(nn.Dense(128)(x.ravel()))))
        loc, log_scale = jnp.split(nn.Dense(2 * self.dim)(h), 2)
        scale = jnp.exp(log_scale)
        return vp.normal_diag(loc, scale) if self.rate is None else vp.committed_rate(loc, scale, self.rate)


class Decoder(nn.Module):
    """z to p(x|z) over binary images."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, z):
        """Two hidden layers."""
        h = nn.relu(nn.Dense(128)(nn.relu(nn.Dense(128)(z))))
        return vp.bernoulli(nn.Dense(self.shape[0] * self.shape[1])(h).reshape(self.shape))


DIM, RATE = 32, 8.0
COMMITTED, CORRELATED = "committed rate, 8 nats", "correlated prior, 8 nats"
# Its correlation leaves a diagonal posterior a KL of at least 8 nats.
PRIORS = {CORRELATED: vp.autoregressive_normal(DIM, correlation=0.8041)}


def cyclical(period: int, step: jax.Array) -> jax.Array:
    """A weight of the KL that rises from 0 to 1 in the first half of each period, and stays there in the second."""
    return jnp.minimum(1.0, 2 * (step % period) / period)


def objectives(num_epochs: int, num_steps: int) -> dict[str, vp.Objective]:
    """The objectives by their names; several samples in all, so that each sees as many."""
    several = partial(vp.Objective, num_samples=5)
    return {
        "ELBO": several(),
        "warm-up": several(warmup_epochs=max(1, num_epochs // 4)),
        "cyclical": several(beta=partial(cyclical, max(2, num_epochs * num_steps // 4))),
        "free bits, 8 nats": several(free_bits=8.0),
        "free bits, 0.25 nats a dimension": several(free_bits_per_group=0.25),
        "constraint of 90 nats": several(constraint=vp.ReconstructionConstraint(max_error=90.0)),
        COMMITTED: several(),
        CORRELATED: several(),
        "IWAE": several(bound="iwae"),
        "IWAE, doubly reparameterised": several(bound="iwae", gradient="doubly_reparameterized"),
    }


def train(name: str, objective: vp.Objective, data: Dataset, seed: int, num_epochs: int) -> tuple[vp.VAE, vp.VAEParams]:
    """Trains a VAE with the prior of this name in `PRIORS`, or else N(0, I); returns it and its parameters."""
    keys = jax.random.split(jax.random.key(seed), 3)
    encoder, decoder = Encoder(DIM, RATE if name == COMMITTED else None), Decoder(data.image_shape)
    vae = vp.VAE(encoder.apply, decoder.apply, PRIORS.get(name, vp.standard_normal(DIM)))
    params = vp.VAEParams(encoder.init(keys[0], data.train["x"][0]), decoder.init(keys[1], jnp.zeros(DIM)), {})
    result = vp.fit(
        vae,
        params,
        keys[2],
        {"x": data.train["x"]},
        optax.adam(2e-3),
        num_epochs=num_epochs,
        batch_size=100,
        validation={"x": data.validation["x"]},
        transform=data.transform,
        objective=objective,
        progress=False,
    )
    return vae, result.params


def main() -> None:
    """Prints a table of log p(x) of test images, the KL and the active units with each objective."""
    parser = argparse.ArgumentParser(description="Objectives that keep latents in use.")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--num-epochs", type=int, default=40)
    parser.add_argument("--num-seeds", type=int, default=1)
    parser.add_argument("--num-samples", type=int, default=500, help="samples of z for log p(x)")
    parser.add_argument("--results", help="write the table to this .json file, too")
    options = parser.parse_args()

    data, table, key = load(options.dataset), ExampleTable("objective"), jax.random.key(9)
    x = data.test["x"]
    for seed in range(options.num_seeds):
        for name, objective in objectives(options.num_epochs, len(data.train["x"]) // 100).items():
            vae, params = train(name, objective, data, seed, options.num_epochs)
            found = vp.log_marginal(vae, params, key, x, num_samples=options.num_samples)
            units = active_units(vae, params, data.fixed_train["x"])
            kl = vp.evaluate_elbo(vae, params, key, x).kl
            table.add(name, seed, found.values, {"KL": kl.mean(), "active units": units.sum()})
    print(table.text())
    if options.results:
        table.write(options.results, options.dataset, vars(options))


if __name__ == "__main__":
    main()
