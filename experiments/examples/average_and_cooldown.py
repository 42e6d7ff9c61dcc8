"""Averaged parameters, a cyclical weight of the KL, and a cooldown that starts from the first run.

python -m experiments.examples.average_and_cooldown
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

import vaepriors_jax as vp


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


BATCH_SIZE, CYCLE = 100, 75  # steps of a cycle: 5 epochs

x = (load_digits().data > 7).astype("float32")  # binary images [1797, 64]
vae = vp.VAE(Encoder().apply, Decoder().apply, vp.mixture(10, num_components=20))
keys = jax.random.split(jax.random.key(0), 4)
params = vp.VAEParams(
    encoder=Encoder().init(keys[0], x[0]),
    decoder=Decoder().init(keys[1], jnp.zeros(10)),
    prior=vae.prior.init(keys[2]),
)

data, validation = {"x": x[:1500]}, {"x": x[1500:]}


def cyclical(step):
    """The weight of the KL: in each cycle it rises from 0 to 1 in the first half, and stays there."""
    return jnp.minimum(1.0, 2 * (step % CYCLE) / CYCLE)


if __name__ == "__main__":
    first = vp.fit(
        vae,
        params,
        keys[3],
        data,
        vp.average_params(optax.adam(1e-2), decay=0.98),
        num_epochs=10,
        batch_size=BATCH_SIZE,
        validation=validation,
        objective=vp.Objective(beta=cyclical),
    )
    # A new run: its own optimiser, from the best averaged parameters of the first.
    second = vp.fit(
        vae,
        vp.start_from(first),
        keys[3],
        data,
        vp.average_params(optax.adam(1e-3), decay=0.98),
        num_epochs=5,
        batch_size=BATCH_SIZE,
        validation=validation,
    )
    print(first)
    print(second)
