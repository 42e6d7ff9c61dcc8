"""Likelihoods of distrax and TFP train and are evaluated as they are: log p(x) is their own log-density."""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tensorflow_probability.substrates.jax import distributions as tfd

import vaepriors_jax as vp

KEY, N = jax.random.key(0), 12


def positive(p):
    return jnp.exp(0.1 * p)


# Each makes a distribution over one example from parameters [3].
LIKELIHOODS = {
    "distrax.Gamma": lambda p: distrax.Independent(distrax.Gamma(positive(p), positive(-p)), 1),
    "distrax.Categorical": lambda p: distrax.Categorical(logits=p),
    "distrax.OneHotCategorical": lambda p: distrax.OneHotCategorical(logits=p),
    "distrax.MultivariateNormalDiag": lambda p: distrax.MultivariateNormalDiag(p, positive(p)),
    "distrax.MixtureSameFamily": lambda p: distrax.MixtureSameFamily(
        distrax.Categorical(logits=p), distrax.MultivariateNormalDiag(p[:, None] * jnp.ones(2), jnp.ones((3, 2)))
    ),
    "tfd.NegativeBinomial": lambda p: tfd.Independent(tfd.NegativeBinomial(positive(p), logits=p), 1),
    "tfd.StudentT": lambda p: tfd.Independent(tfd.StudentT(5.0, p, positive(p)), 1),
    "tfd.LogNormal": lambda p: tfd.Independent(tfd.LogNormal(p, 0.5), 1),
    "tfd.Dirichlet": lambda p: tfd.Dirichlet(3 * positive(p)),
    "tfd.MultivariateNormalTriL": lambda p: tfd.MultivariateNormalTriL(
        p, jnp.eye(3) + jnp.tril(0.3 * jnp.ones((3, 3)))
    ),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype:UserWarning")  # TFP's, without x64
@pytest.mark.parametrize("name", LIKELIHOODS)
def test_an_epoch_and_log_p_of_x(name):
    make = LIKELIHOODS[name]
    start = jnp.array([0.3, -0.2, 0.5])
    x = np.asarray(make(jnp.zeros(3)).sample(seed=KEY, sample_shape=N))
    # z plays no part, so that every importance weight is p(x).
    vae = vp.VAE(
        encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2)),
        decode=lambda params, z: make(params + 0 * z.sum()),
        prior=vp.standard_normal(2),
    )
    result = vp.fit(
        vae,
        vp.VAEParams({}, start, {}),
        KEY,
        {"x": x},
        optax.adam(0.05),
        num_epochs=1,
        batch_size=4,
        progress=False,
    )
    assert np.isfinite(result.history["elbo"]).all()
    assert (np.asarray(result.params.decoder) != start).any()
    found = vp.log_marginal(vae, result.params, KEY, x, num_samples=3, chunk_size=2).values
    own = [make(result.params.decoder).log_prob(jnp.asarray(one)) for one in x]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, own, rtol=1e-5, atol=1e-5)
    assert vp.generate(vae, result.params, KEY, 2, mean=False).shape == (2, *x.shape[1:])
