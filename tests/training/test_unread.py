"""Entries of a batch that nothing reads are named, and those that something reads are not."""

import warnings

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp

KEY = jax.random.key(0)
X, Y = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32), np.array([0, 1, 1, 0, 1, 1])
VAE = vp.VAE(
    lambda params, x: vp.normal_diag(params @ x, jnp.ones(2)),
    lambda params, z: vp.normal_diag(params @ z, jnp.ones(3)),
    vp.standard_normal(2),
)
PARAMS = vp.VAEParams(jnp.ones((2, 3)) / 3, jnp.ones((3, 2)) / 2, {})


def fit(vae, data, prior=None, **options):
    params = PARAMS._replace(prior=vae.prior.init(KEY) if prior is None else prior)
    options = {"num_epochs": 1, "progress": False} | options
    return vp.fit(vae, params, KEY, data, optax.sgd(0.1), **options)


@pytest.mark.parametrize("streams", [False, True])
def test_an_entry_that_nothing_reads_is_named_once(streams):
    data = {"x": X, "batch": Y, "weight": np.ones(6)}
    with pytest.warns(UserWarning, match=r"Nothing reads 'batch': no network .* Leave it out, or name it") as caught:
        fit(VAE, [data, data] if streams else data, **({} if streams else {"batch_size": 2}))
    assert len(caught) == 1


def test_evaluations_and_generation_name_it_too():
    several = "Nothing reads 'batch', 'site'.* Leave them out"
    with pytest.warns(UserWarning, match=several):
        vp.log_marginal(VAE, PARAMS, KEY, X, batch=Y, site=Y, num_samples=2)
    with pytest.warns(UserWarning, match=several):
        vp.aggregated_posterior(VAE, PARAMS, [{"x": X, "batch": Y, "site": Y}])
    with pytest.warns(UserWarning, match="Nothing reads 'y'"):
        vp.generate(VAE, PARAMS, KEY, 2, y=3)
    with pytest.warns(UserWarning, match="Nothing reads 'masks'"):
        vp.evaluate_elbo(VAE, PARAMS, KEY, X, masks={"a": {"b": Y}})
    conditional = vp.conditional_normal(2, num_classes=2, condition="site")
    marginal = VAE._replace(prior=vp.marginalize(conditional, (0.5, 0.5), condition="site"))
    with pytest.warns(UserWarning, match="Nothing reads 'site'"):
        vp.evaluate_elbo(marginal, PARAMS._replace(prior=marginal.prior.init(KEY)), KEY, X, site=Y)


def by_hand(params, *, shift, **context):
    """A prior of a user: no configuration says what it reads."""
    return distrax.Independent(distrax.Normal(params + shift, jnp.ones(2)), 1)


@pytest.mark.slow
def test_what_something_reads_is_not_named():
    own = VAE._replace(prior=vp.Prior(lambda key: jnp.zeros(2), by_hand, {"factory": "by_hand"}))
    shifted = PARAMS._replace(prior=jnp.zeros(2))
    exemplars = vp.VAE(*VAE[:2], vp.exemplar(2, num_neighbors=2))
    params = vp.init_prior_state(exemplars, PARAMS._replace(prior=exemplars.prior.init(KEY)), x=X)
    reads_site = VAE._replace(encode=lambda params, x, site: VAE.encode(params, x + site), encoder_context=("site",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(reads_site, {"x": X, "place": Y}, batch_size=6, transform=lambda key, b: {"x": b["x"], "site": b["place"]})
        fit(own, {"x": X, "shift": X[:, :2]}, batch_size=6)
        fit(own, {"x": X, "raw": X[:, :2]}, batch_size=6, transform=lambda key, b: {"x": b["x"], "shift": b["raw"]})
        fit(VAE, {"x": X, "noise": Y}, batch_size=6, transform=lambda key, b: {"x": b["x"] + b["noise"][:, None]})
        fit(exemplars, {"x": X, "index": np.arange(6)}, params.prior, batch_size=6)
        vp.log_marginal(own, shifted, KEY, X, shift=X[:, :2], num_samples=2)
        vp.generate(own, shifted, KEY, 3, shift=1.0)
        vp.generate(own, shifted, KEY, 3, shift=np.ones((3, 2)))
        vp.generate(VAE._replace(encoder_context=("y",)), PARAMS, KEY, 3, y=1)  # the VAE reads it
        fit(VAE, {"x": X, "y": Y}, batch_size=6)  # labels stand in most data sets
    for transform in (lambda key, batch: {**batch, "x": batch["x"] + 1}, lambda key, batch: {"x": batch["x"]}):
        with pytest.warns(UserWarning, match="Nothing reads 'batch'"):
            fit(VAE, {"x": X, "batch": Y}, batch_size=6, transform=transform)
