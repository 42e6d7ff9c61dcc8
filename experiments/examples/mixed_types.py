"""Data of mixed types: x is a dict, and the likelihood a joint one.

python -m experiments.examples.mixed_types
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp


class Encoder(nn.Module):
    """The parts of one example to q(z|x)."""

    @nn.compact
    def __call__(self, x):
        """Takes a dict; counts in logarithms."""
        inputs = jnp.concatenate([x["size"], x["answers"], jnp.log1p(x["visits"])])
        loc, log_scale = jnp.split(nn.Dense(4)(nn.relu(nn.Dense(32)(inputs))), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class Decoder(nn.Module):
    """z to p(x|z), with a likelihood for each part."""

    @nn.compact
    def __call__(self, z):
        """Takes one z."""
        h = nn.relu(nn.Dense(32)(z))
        return vp.joint(
            {
                "size": vp.normal_diag(nn.Dense(2)(h), jnp.exp(self.param("log_scale", nn.initializers.zeros, 2))),
                "answers": vp.bernoulli(nn.Dense(4)(h)),
                "visits": vp.poisson(jnp.exp(nn.Dense(1)(h))),
            }
        )


rng = np.random.default_rng(0)
kind = rng.integers(0, 2, (1000, 1))  # two kinds of people
x = {
    "size": (rng.normal(size=(1000, 2)) + 2 * kind).astype(np.float32),
    "answers": (rng.random((1000, 4)) < 0.2 + 0.6 * kind).astype(np.float32),
    "visits": rng.poisson(1 + 5 * kind),
}

encoder, decoder, prior = Encoder(), Decoder(), vp.mixture(2, num_components=2)
keys = jax.random.split(jax.random.key(0), 5)
vae = vp.VAE(encoder.apply, decoder.apply, prior)
first = {name: part[0] for name, part in x.items()}
params = vp.VAEParams(encoder.init(keys[0], first), decoder.init(keys[1], jnp.zeros(2)), prior.init(keys[2]))
result = vp.fit(vae, params, keys[3], {"x": x}, optax.adam(5e-3), num_epochs=20)
estimate = vp.log_marginal(vae, result.params, keys[4], x, num_samples=100)
print(f"log p(x) = {estimate.mean:.2f} ± {estimate.standard_error:.2f} nats")
print(jax.tree.map(lambda part: part.round(1).tolist(), vp.generate(vae, result.params, keys[4], 2)))
