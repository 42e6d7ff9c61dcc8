"""A VAE with BatchNorm and Dropout, in Equinox. It needs the extra `equinox`.

python -m experiments.examples.batch_norm_equinox
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits

import vaepriors_jax as vp


class Network(eqx.Module):
    """A hidden layer with BatchNorm and Dropout."""

    hidden: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, num_in: int, num_out: int, key: jax.Array):
        key_hidden, key_out = jax.random.split(key)
        self.hidden = eqx.nn.Linear(num_in, 128, use_bias=False, key=key_hidden)
        self.norm = eqx.nn.BatchNorm(128, axis_name="batch", momentum=0.95, mode="batch")
        self.dropout = eqx.nn.Dropout(0.1)
        self.out = eqx.nn.Linear(128, num_out, key=key_out)

    def __call__(self, x, state, *, key=None):
        """Takes one example; BatchNorm averages over the axis "batch"."""
        x, state = self.norm(self.hidden(x), state)
        return self.out(self.dropout(jax.nn.relu(x), key=key)), state


def gaussian(outputs):
    """Makes q(z|x) of what the encoder returns."""
    loc, log_scale = jnp.split(outputs, 2)
    return vp.normal_diag(loc, jnp.exp(log_scale))


x = (load_digits().data > 7).astype("float32")  # binary images [1797, 64]
train, validation, test = x[:1200], x[1200:1500], x[1500:]
keys = jax.random.split(jax.random.key(0), 5)

module, state = eqx.nn.make_with_state(Network)(64, 20, keys[0])
encoder, encoder_variables = vp.equinox_network(module, state, gaussian)
module, state = eqx.nn.make_with_state(Network)(10, 64, keys[1])
decoder, decoder_variables = vp.equinox_network(module, state, vp.bernoulli)
prior = vp.vamp(num_components=50, input_shape=(64,))

vae = vp.VAE(encoder, decoder, prior)
params = vp.VAEParams(encoder_variables, decoder_variables, prior.init(keys[2]))
result = vp.fit(
    vae, params, keys[3], {"x": train}, optax.adam(1e-3), num_epochs=60, validation={"x": validation}, patience=20
)

estimate = vp.log_marginal(vae, result.params, keys[4], test, num_samples=200)
print(f"log p(x) = {estimate.mean:.1f} ± {estimate.standard_error:.1f} nats")
module, state = encoder.to_module(result.params.encoder)  # an eqx.Module again, in inference mode
print(module(test[0], state)[0].round(1))
