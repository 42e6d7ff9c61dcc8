"""A VAE in NumPyro with a prior of this library. It needs the extra `numpyro`.

python -m experiments.examples.numpyro_model
"""

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import optax
from numpyro.infer import SVI, Trace_ELBO
from sklearn.datasets import load_digits

import vaepriors_jax as vp
from vaepriors_jax.adapters.numpyro import to_numpyro

x = (load_digits().data > 7).astype("float32")  # binary images [1797, 64]
prior = vp.mixture(5, num_components=10)


def linear(name, num_in, num_out):
    """The parameters of a layer."""
    return numpyro.param(name, 0.1 * jax.random.normal(jax.random.key(num_in), (num_in, num_out)))


def model(x):
    """p(z) and p(x|z)."""
    prior_params = numpyro.param("prior", lambda key: prior.init(key))
    weight = linear("decoder", 5, 64)
    with numpyro.plate("examples", len(x)):
        z = numpyro.sample("z", to_numpyro(prior.apply(prior_params)))
        numpyro.sample("x", dist.Bernoulli(logits=z @ weight).to_event(1), obs=x)


def guide(x):
    """q(z|x), a distribution of NumPyro."""
    loc, log_scale = jnp.split(x @ linear("encoder", 64, 10), 2, axis=-1)
    with numpyro.plate("examples", len(x)):
        numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))


result = SVI(model, guide, optax.adam(1e-2), Trace_ELBO()).run(jax.random.key(0), 300, x, progress_bar=False)
print(f"ELBO: {-result.losses[0] / len(x):.1f} nats at first, {-result.losses[-1] / len(x):.1f} nats at the end")
