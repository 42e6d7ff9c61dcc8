"""Trains on a data set of TensorFlow Datasets that grain reads. It needs the extras `experiments` and `streams`.

python -m experiments.examples.stream_tfds

The data set lies on the disk as array records, such as `tfds.data_source("mnist")` prepares. Threads decode the images
while the device trains: 5,000 images of MNIST take a second of one core, so that a small VAE waits for them. What fits
into memory trains faster from arrays.
"""

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tensorflow_datasets as tfds

import vaepriors_jax as vp

source = grain.MapDataset.source(tfds.data_source("mnist", split="train[:2000]"))  # all of it: split="train"


def example(record):
    """The names that the library reads: x, and what networks or prior read beside it."""
    return {"x": np.float32(record["image"].ravel() > 127), "y": np.int32(record["label"])}


def batches(epoch):
    """A data set of grain has one order: the number of the epoch is the seed of another."""
    return source.shuffle(seed=epoch).map(example).batch(100).to_iter_dataset()


def encode(params, x):
    """A linear encoder."""
    return vp.normal_diag(params["weight"] @ x, jnp.exp(params["log_scale"]))


def decode(params, z):
    """A linear decoder of binary images."""
    return vp.bernoulli(params["weight"] @ z + params["bias"])


prior = vp.conditional_normal(8, num_classes=10)
key_encoder, key_decoder, key_prior, key_fit, key_test = jax.random.split(jax.random.key(0), 5)
vae = vp.VAE(encode, decode, prior)
params = vp.VAEParams(
    {"weight": 0.03 * jax.random.normal(key_encoder, (8, 784)), "log_scale": jnp.zeros(8)},
    {"weight": 0.03 * jax.random.normal(key_decoder, (784, 8)), "bias": jnp.zeros(784)},
    prior.init(key_prior),
)
result = vp.fit(vae, params, key_fit, batches, optax.adam(1e-2), num_epochs=2)
estimate = vp.log_marginal(vae, result.params, key_test, batches, num_samples=20)
print(f"log p(x|y) >= {estimate.mean:.1f} +- {estimate.standard_error:.1f} nats")
