"""Trains on a `DataLoader` of PyTorch. It needs torch.

python -m experiments.examples.stream_torch
"""

# pyright: reportMissingImports=false

import jax
import jax.numpy as jnp
import optax
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

import vaepriors_jax as vp

images, labels = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(images > 8, dtype=torch.float32), torch.tensor(labels))


def batches(epoch):
    """A loader gives tuples: name their parts. The seed makes a run that is resumed read the same batches."""
    loader = DataLoader(data, batch_size=64, shuffle=True, generator=torch.Generator().manual_seed(epoch))
    return ({"x": x, "y": y} for x, y in loader)


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
