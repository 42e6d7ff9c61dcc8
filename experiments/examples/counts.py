"""Counts of genes in cells of two batches: a negative binomial VAE with three priors, on data from a known model.

python -m experiments.examples.counts
python -m experiments.examples.counts --num-seeds 3
"""

import argparse

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp
from experiments.report.example_table import ExampleTable

NUM_GENES, DIM, THETA = 30, 2, 5.0  # THETA is the inverse dispersion of the true model
CENTRES = np.array([[2.5, 0.0], [-1.5, 2.0], [-1.5, -2.0]])  # three kinds of cells


def true_proportions(z, batch):
    """The proportions of genes [..., genes] at z [..., 2], which the batch [...] shifts."""
    rng = np.random.default_rng(0)
    weight, bias, shift = (rng.normal(size=shape) for shape in ((DIM, NUM_GENES), NUM_GENES, (2, NUM_GENES)))
    return jax.nn.softmax(0.5 * z @ weight + bias + 0.5 * shift[batch])


def simulate(num_cells, seed):
    """Cells of the true model, {"x": counts, "batch": 0 or 1, "library": mean of the total count}."""
    rng = np.random.default_rng(seed)
    z = CENTRES[rng.integers(0, 3, num_cells)] + 0.5 * rng.normal(size=(num_cells, DIM))
    batch = rng.integers(0, 2, num_cells)
    library = np.exp(rng.normal(5.0, 0.4, num_cells)).astype(np.float32)
    mean = library[:, None] * np.asarray(true_proportions(z, batch))
    return {"x": rng.poisson(rng.gamma(THETA, mean / THETA)), "batch": batch, "library": library}


class Encoder(nn.Module):
    """The counts of a cell to q(z|x, batch)."""

    @nn.compact
    def __call__(self, x, batch, train):
        """Counts in logarithms; BatchNorm averages over the axis "batch" of the examples."""
        h = jnp.concatenate([jnp.log1p(x), jax.nn.one_hot(batch, 2)])
        h = nn.relu(nn.BatchNorm(not train, axis_name="batch", momentum=0.9)(nn.Dense(64)(h)))
        loc, log_scale = jnp.split(nn.Dense(2 * DIM)(h), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class Decoder(nn.Module):
    """z, the batch and the library size to p(x|z)."""

    @nn.compact
    def __call__(self, z, batch, library, train):
        """The proportions of genes, and an inverse dispersion for each gene."""
        h = nn.Dense(64)(jnp.concatenate([z, jax.nn.one_hot(batch, 2)]))
        h = nn.relu(nn.BatchNorm(not train, axis_name="batch", momentum=0.9)(h))
        log_theta = self.param("log_theta", nn.initializers.zeros, NUM_GENES)
        return vp.negative_binomial(jax.nn.softmax(nn.Dense(NUM_GENES)(h)), jnp.exp(log_theta), exposure=library)


PRIORS = {
    "N(0, I)": vp.standard_normal(DIM),
    "mixture, 10 components": vp.mixture(DIM, 10),
    # Pseudo-inputs are cells: counts with a batch of their own.
    "VampPrior, 10 pseudo-inputs": vp.vamp(
        10, (NUM_GENES,), bounds=(0.0, 1000.0), covariates={"batch": {"num_classes": 2}}
    ),
}


def train(prior, data, seed, num_epochs):
    """Trains a VAE with a prior that starts from data where it can; returns both."""
    keys = jax.random.split(jax.random.key(seed), 4)
    encoder, decoder = vp.linen_network(Encoder()), vp.linen_network(Decoder())
    vae = vp.VAE(encoder, decoder, prior, encoder_context=("batch",), decoder_context=("batch", "library"))
    start = prior.init(keys[2])
    if "covariates" in prior.config:
        start = vp.init_from_data(prior, keys[2], x=data["x"], batch=data["batch"])
    params = vp.VAEParams(
        encoder.init(keys[0], data["x"][0], batch=0), decoder.init(keys[1], jnp.zeros(DIM), batch=0, library=1.0), start
    )
    options = {"num_epochs": num_epochs, "objective": vp.Objective(warmup_epochs=num_epochs // 4), "progress": False}
    return vae, vp.fit(vae, params, keys[3], data, optax.adam(5e-3), **options).params


def main() -> None:
    """Prints a table of log p(x|batch, library) of test cells, and how much more it is than with N(0, I)."""
    parser = argparse.ArgumentParser(description="A count VAE with three priors.")
    parser.add_argument("--num-epochs", type=int, default=60)
    parser.add_argument("--num-seeds", type=int, default=1)
    parser.add_argument("--num-cells", type=int, default=1000)
    parser.add_argument("--results", help="write the table to this .json file, too")
    options = parser.parse_args()
    data, test = simulate(options.num_cells, seed=0), simulate(500, seed=1)
    table = ExampleTable()
    for seed in range(options.num_seeds):
        for name, prior in PRIORS.items():
            vae, params = train(prior, data, seed, options.num_epochs)
            found = vp.log_marginal(vae, params, jax.random.key(9), **test, num_samples=200)
            kl = vp.evaluate_elbo(vae, params, jax.random.key(9), **test).kl.mean()
            table.add(name, seed, found.values, {"KL": kl})
    print(table.text())
    if options.results:
        table.write(options.results, "counts", vars(options))


if __name__ == "__main__":
    main()
