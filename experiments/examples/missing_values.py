"""Missing values: the likelihood of the observed entries alone, and imputation of the others.

python -m experiments.examples.missing_values
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import vaepriors_jax as vp


class Encoder(nn.Module):
    """An image [64] and its mask to q(z|x)."""

    @nn.compact
    def __call__(self, x, mask):
        """Fills the missing pixels, and says which they are."""
        inputs = jnp.concatenate([jnp.where(mask, x, 0.0), mask])
        loc, log_scale = jnp.split(nn.Dense(20)(nn.relu(nn.Dense(128)(inputs))), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class Decoder(nn.Module):
    """z to p(x|z) over the observed pixels of a binary image."""

    @nn.compact
    def __call__(self, z, mask):
        """Takes one z and the mask of its example."""
        return vp.masked(vp.bernoulli(nn.Dense(64)(nn.relu(nn.Dense(128)(z)))), mask)


complete = (load_digits().data > 7).astype("float32")  # binary images [1797, 64]
x = np.where(np.random.default_rng(0).random(complete.shape) < 0.3, np.nan, complete)
mask = ~np.isnan(x)

encoder, decoder, prior = Encoder(), Decoder(), vp.mixture(10, num_components=10)
keys = jax.random.split(jax.random.key(0), 4)
vae = vp.VAE(encoder.apply, decoder.apply, prior, encoder_context=("mask",), decoder_context=("mask",))
params = vp.VAEParams(
    encoder.init(keys[0], x[0], mask[0]), decoder.init(keys[1], jnp.zeros(10), mask[0]), prior.init(keys[2])
)
result = vp.fit(vae, params, keys[3], {"x": x, "mask": mask}, optax.adam(2e-3), num_epochs=20)


@jax.vmap
def impute(x, mask):
    """The mean of p(x|z) at the mean of q(z|x), which covers the missing pixels too."""
    z = vae.posterior(result.params, x, mask=mask).mean()
    return vae.likelihood(result.params, z, mask=mask).mean()


right = (impute(x, mask) > 0.5) == (complete > 0.5)
print(f"of the missing pixels {right[~mask].mean():.0%} are imputed right; of one class {1 - complete.mean():.0%} are")
