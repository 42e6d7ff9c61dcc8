"""Priors in models of NumPyro, and networks that return its distributions, against NumPyro itself."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import pytest
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.util import log_density

import vaepriors_jax as vp
from tests.support.linear_gaussian import NOISE, exact_log_marginal, linear_gaussian_vae
from vaepriors_jax.adapters.numpyro import to_numpyro

KEY = jax.random.key(0)
PRIORS = {
    "mixture": vp.mixture(2, 3),
    "flow": vp.transformed(vp.standard_normal(2), vp.affine_coupling(2, hidden=(4,))),
}


@pytest.mark.parametrize("name", PRIORS)
def test_a_model_has_the_density_and_the_samples_of_the_prior(name):
    prior = PRIORS[name]
    params = prior.init(KEY)
    z = jax.random.normal(KEY, (5, 2))

    def model():
        with numpyro.plate("examples", 5):
            numpyro.sample("z", to_numpyro(prior.apply(params)))

    total, _ = log_density(model, (), {}, {"z": z})
    np.testing.assert_allclose(total, prior.apply(params).log_prob(z).sum(), rtol=1e-6)
    drawn = numpyro.infer.Predictive(model, num_samples=400)(KEY)["z"]
    assert drawn.shape == (400, 5, 2)
    expected = prior.apply(params).sample(seed=jax.random.key(1), sample_shape=20_000)
    error = np.asarray(expected).std(0) / np.sqrt(2000)
    assert (np.abs(drawn.reshape(-1, 2).mean(0) - expected.mean(0)) < 5 * error).all()


def test_svi_trains_a_prior_to_the_log_marginal_of_the_data():
    """z = x, so that the loss is -log p(x): a mixture of one component ends at mean and standard deviation."""
    prior = vp.mixture(2, 1)
    x = jnp.array([1.0, -2.0]) + jnp.array([0.5, 2.0]) * jax.random.normal(KEY, (200, 2))

    def model():
        params = numpyro.param("prior", lambda key: prior.init(key))
        with numpyro.plate("examples", 200):
            numpyro.sample("z", to_numpyro(prior.apply(params)), obs=x)

    svi = SVI(model, lambda: None, optax.adam(0.05), Trace_ELBO())
    fitted = svi.run(jax.random.key(1), 600, progress_bar=False).params["prior"]
    np.testing.assert_allclose(fitted["loc"][0], x.mean(0), atol=0.02)
    np.testing.assert_allclose(np.exp(fitted["log_scale"][0]), x.std(0), rtol=0.02)


def test_networks_may_return_distributions_of_numpyro():
    vae, params, x = linear_gaussian_vae()

    def encode(params, x):
        q = vae.encode(params, x).distribution
        return dist.Normal(q.loc, q.scale).to_event(1)

    def decode(params, z):
        return dist.MultivariateNormal(vae.decode(params, z).mean(), NOISE**2 * jnp.eye(5))

    of_numpyro = vae._replace(encode=encode, decode=decode)
    found = vp.log_marginal(of_numpyro, params, KEY, x, num_samples=20).values
    np.testing.assert_allclose(found, exact_log_marginal(params, x), rtol=1e-4)
    np.testing.assert_allclose(
        vp.evaluate_elbo(of_numpyro, params, KEY, x).kl, vp.evaluate_elbo(vae, params, KEY, x).kl, rtol=1e-5
    )
    assert vp.generate(of_numpyro, params, KEY, 3).shape == (3, 5)
    with pytest.raises(ValueError, match=r"one vector.*batch_shape \(2,\)"):
        vae._replace(encode=lambda params, x: dist.Normal(jnp.zeros(2), 1.0)).posterior(params, x[0])


def test_what_is_no_prior_is_refused():
    with pytest.raises(TypeError, match="Expected the prior to return a distrax distribution"):
        to_numpyro(vp.standard_normal(2))
