"""Trains on a data set that grain reads. It needs the extra `streams`.

python -m experiments.examples.stream_grain

For a data set of TensorFlow Datasets see `stream_tfds`.
"""

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import vaepriors_jax as vp


class Digits:
    """The digits of scikit-learn as a source of grain: a length and examples."""

    def __init__(self):
        self.images, self.labels = load_digits(return_X_y=True)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index] / 16, "label": self.labels[index]}


def example(record):
    """The names that the library reads: x, and what networks or prior read beside it."""
    return {"x": np.float32(record["image"] > 0.5), "y": np.int32(record["label"])}


source = grain.MapDataset.source(Digits())


def batches(epoch):
    """A data set of grain has one order: the number of the epoch is the seed of another."""
    return source.shuffle(seed=epoch).map(example).batch(64).to_iter_dataset()


def encode(params, x):
    """A linear encoder."""
    return vp.normal_diag(params["weight"] @ x, jnp.exp(params["log_scale"]))


def decode(params, z):
    """A linear decoder of binary images."""
    return vp.bernoulli(params["weight"] @ z + params["bias"])


prior = vp.conditional_normal(4, num_classes=10)
key_encoder, key_decoder, key_prior, key_fit, key_test = jax.random.split(jax.random.key(0), 5)
vae = vp.VAE(encode, decode, prior)
params = vp.VAEParams(
    {"weight": 0.1 * jax.random.normal(key_encoder, (4, 64)), "log_scale": jnp.zeros(4)},
    {"weight": 0.1 * jax.random.normal(key_decoder, (64, 4)), "bias": jnp.zeros(64)},
    prior.init(key_prior),
)
result = vp.fit(vae, params, key_fit, batches, optax.adam(1e-2), num_epochs=3)
estimate = vp.log_marginal(vae, result.params, key_test, batches, num_samples=20)
print(f"log p(x|y) >= {estimate.mean:.1f} +- {estimate.standard_error:.1f} nats")
