"""A callback that writes the metrics of each epoch to a CSV file, one row an epoch.

python -m experiments.examples.metrics_csv
"""

import csv
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

import vaepriors_jax as vp


class CSVWriter:
    """Writes `epoch` and all metrics; a run that is resumed goes on in the same file."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __call__(self, epoch: vp.Epoch) -> None:
        """Appends a row, below a header in a new file."""
        row = {"epoch": epoch.epoch} | {name: float(value) for name, value in epoch.metrics.items()}
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


class Encoder(nn.Module):
    """An image [64] to q(z|x)."""

    @nn.compact
    def __call__(self, x):
        """Takes one image."""
        loc, log_scale = jnp.split(nn.Dense(20)(nn.relu(nn.Dense(128)(x))), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class Decoder(nn.Module):
    """z to p(x|z) over binary images."""

    @nn.compact
    def __call__(self, z):
        """Takes one z."""
        return vp.bernoulli(nn.Dense(64)(nn.relu(nn.Dense(128)(z))))


x = (load_digits().data > 7).astype("float32")  # binary images [1797, 64]
vae = vp.VAE(Encoder().apply, Decoder().apply, vp.mixture(10, num_components=20))
keys = jax.random.split(jax.random.key(0), 4)
params = vp.VAEParams(
    encoder=Encoder().init(keys[0], x[0]),
    decoder=Decoder().init(keys[1], jnp.zeros(10)),
    prior=vae.prior.init(keys[2]),
)

if __name__ == "__main__":
    vp.fit(
        vae,
        params,
        keys[3],
        {"x": x[:1500]},
        optax.adam(1e-3),
        num_epochs=5,
        validation={"x": x[1500:]},
        callback=CSVWriter("metrics.csv"),
    )
    print(Path("metrics.csv").read_text())
