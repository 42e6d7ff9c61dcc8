"""A VAE with BatchNorm and Dropout, in Flax NNX: the first example of the README with deeper networks.

python -m experiments.examples.batch_norm_nnx
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from sklearn.datasets import load_digits

import vaepriors_jax as vp


class Encoder(nnx.Module):
    """An image [64] to q(z|x)."""

    def __init__(self, dim: int, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(64, 128, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(128, axis_name="batch", momentum=0.95, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.out = nnx.Linear(128, 2 * dim, rngs=rngs)

    def __call__(self, x):
        """Takes one image; BatchNorm averages over the axis "batch"."""
        loc, log_scale = jnp.split(self.out(self.dropout(nnx.relu(self.norm(self.hidden(x))))), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class Decoder(nnx.Module):
    """z to p(x|z) over binary images."""

    def __init__(self, dim: int, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(dim, 128, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(128, axis_name="batch", momentum=0.95, rngs=rngs)
        self.out = nnx.Linear(128, 64, rngs=rngs)

    def __call__(self, z):
        """Takes one z."""
        return vp.bernoulli(self.out(nnx.relu(self.norm(self.hidden(z)))))


x = (load_digits().data > 7).astype("float32")  # binary images [1797, 64]
train, validation, test = x[:1200], x[1200:1500], x[1500:]
keys = jax.random.split(jax.random.key(0), 4)

encoder, encoder_variables = vp.nnx_network(Encoder(10, nnx.Rngs(0)))
decoder, decoder_variables = vp.nnx_network(Decoder(10, nnx.Rngs(1)))
prior = vp.vamp(num_components=50, input_shape=(64,))

vae = vp.VAE(encoder, decoder, prior)
params = vp.VAEParams(encoder_variables, decoder_variables, prior.init(keys[0]))
result = vp.fit(
    vae, params, keys[1], {"x": train}, optax.adam(1e-3), num_epochs=60, validation={"x": validation}, patience=20
)

estimate = vp.log_marginal(vae, result.params, keys[2], test, num_samples=200)
print(f"log p(x) = {estimate.mean:.1f} ± {estimate.standard_error:.1f} nats")
trained = decoder.to_module(result.params.decoder)  # an nnx.Module again, in evaluation mode
print(trained(jnp.zeros(10)).mean().reshape(8, 8).round(1))
