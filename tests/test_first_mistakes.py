"""What a first user gets wrong: the message says what was expected, what came and what to write."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import vaepriors_jax as vp

KEY = jax.random.key(0)
X = np.ones((20, 6), np.float32)
NORMAL = vp.standard_normal(2)
OPTIMIZER = optax.adam(1e-3)


def encode(params, x):
    return vp.normal_diag(params @ x, jnp.ones(2))


def decode(params, z):
    return vp.bernoulli(params @ z)


def return_logits(params, z):
    return params @ z


def make_params(prior=None):
    return vp.VAEParams(jnp.ones((2, 6)), jnp.ones((6, 2)), {} if prior is None else prior.init(KEY))


VAE, PARAMS = vp.VAE(encode, decode, NORMAL), make_params()
NOT_CALLED = VAE._replace(prior=vp.standard_normal)
LOGITS = VAE._replace(decode=return_logits)
DICT = PARAMS._asdict()
VAMP = vp.vamp(3, (5,))


def fit(vae=VAE, params=PARAMS, x=X, **options):
    arguments = {"num_epochs": 1, "batch_size": 10, "progress": False, **options}
    return vp.fit(vae, params, KEY, {"x": x}, OPTIMIZER, **arguments)


PIECES = [
    (lambda: fit(NOT_CALLED), r"prior, .* as the `prior` of the `vp.VAE`; got the function `standard_normal`. Call"),
    (lambda: vp.elbo(NOT_CALLED, PARAMS, KEY, X[0]), r"as in `standard_normal\(...\)`, and pass what it returns"),
    (lambda: vp.make_train_step(NOT_CALLED, OPTIMIZER), r"got the function `standard_normal`. Call the factory"),
    (lambda: vp.log_marginal(NOT_CALLED, PARAMS, KEY, X), r"got the function `standard_normal`. Call the factory"),
    (lambda: vp.generate(NOT_CALLED, PARAMS, KEY, 3), r"got the function `standard_normal`. Call the factory"),
    (
        lambda: vp.fit_prior(vp.mixture, VAE, PARAMS, KEY, X),
        r"as `prior`; got the function `mixture`. Call",
    ),
    (lambda: vp.freeze(vp.mixture, {}), r"Expected a prior, .*; got the function `mixture`. Call the factory"),
    (lambda: vp.init_from_data(vp.mixture, KEY, z=X), r"Expected a prior, .*; got the function `mixture`"),
    (
        lambda: vp.transformed(vp.standard_normal, vp.affine_coupling(2)),
        r"as `base_prior` of `transformed\(base_prior, flow\)`; got the function `standard_normal`. Call the factory",
    ),
    (lambda: vp.transformed(NORMAL, vp.affine_coupling), r"Expected a flow, .*; got the function `affine_coupling`"),
    (
        lambda: vp.transformed(vp.affine_coupling(2), NORMAL),
        r"Expected a prior, .*; got the flow affine_coupling\(dim=2\). Check the order of the arguments",
    ),
    (lambda: vp.repeat(NORMAL, 2), r"Expected a flow, .* `repeat\(flow, .*; got the prior standard_normal\(dim=2\)"),
    (lambda: vp.chain(vp.permute(2), NORMAL), r"Expected a flow, .* `chain\(flows\)`; got the prior standard_normal"),
    (lambda: vp.chain([vp.permute(2)]), r"Expected a flow, .* `chain\(flows\)`; got list"),
    (lambda: vp.marginalize(vp.conditional_normal, (0.5, 0.5)), r"Expected a prior, .* `conditional_normal\(...\)`"),
    (
        lambda: vp.hole_mass(NORMAL, NORMAL.apply({}), KEY),
        r"`prior` to be a .*Pass `prior.apply\(params\)`",
    ),
]

OBJECTIVES = [
    (lambda: fit(objective={}), r"`objective` as an object such as `vp.Objective\(beta=0.5\)`; got {}"),
    (lambda: vp.make_train_step(VAE, OPTIMIZER, objective=0.5), r"`vp.Objective\(beta=0.5\)`; got 0.5"),
    (lambda: vp.elbo(VAE, PARAMS, KEY, X[0], objective={"beta": 2}), r"`vp.Objective\(beta=0.5\)`; got {'beta': 2}"),
    (lambda: vp.elbo(VAE, DICT, KEY, X[0]), r"`params` as `vp.VAEParams\(encoder, decoder, prior\)`; got dict"),
    (lambda: vp.iwae(VAE, DICT, KEY, X[0], num_samples=2), r"`params` as `vp.VAEParams\(.*; got dict"),
    (lambda: vp.generate(VAE, DICT, KEY, 2), r"`params` as `vp.VAEParams\(.*; got dict"),
    (lambda: vp.log_marginal(VAE, DICT, KEY, X), r"`params` as `vp.VAEParams\(.*; got dict"),
    (lambda: vp.init_train_state(DICT, OPTIMIZER), r"`params` as `vp.VAEParams\(.*; got dict"),
    (lambda: vp.elbo(LOGITS, PARAMS, KEY, X[0]), r"the decoder to return a distrax distribution over x; got an array"),
    (lambda: vp.generate(LOGITS, PARAMS, KEY, 2), r"got an array of shape \[6\]. Return for instance `vp.bernoulli"),
    (lambda: fit(LOGITS), r"got an array of shape \[6\]. Return for instance `vp.bernoulli\(logits\)`"),
]


@pytest.mark.parametrize(("run", "message"), PIECES + OBJECTIVES)
def test_an_argument_of_another_kind(run, message):
    with pytest.raises(TypeError, match=message):
        run()


NOTES = [
    (lambda: vp.elbo(VAE, PARAMS, KEY, X), r"takes one example; it was given x of shape \[20, 6\]. For a batch, map"),
    (lambda: vp.log_marginal(VAE, PARAMS, KEY, X[0]), r"{'x': \[6\]} .* a single example x is passed as `x\[None\]`"),
    (
        lambda: vp.elbo(VAE._replace(prior=VAMP), make_params(VAMP), KEY, X[0]),
        r"a pseudo-input of a `vamp` prior, of input_shape=\(5,\). Give the shape of one example",
    ),
    (lambda: fit(VAE._replace(prior=VAMP), make_params(VAMP)), r"of input_shape=\(5,\)"),
    (lambda: VAE.likelihood(PARAMS, jnp.ones(3)), r"from the decoder, .* it was given z of shape \[3\]"),
]


@pytest.mark.parametrize(("run", "note"), NOTES)
def test_an_error_of_a_network_says_what_it_was_given(run, note):
    with pytest.raises((TypeError, ValueError)) as caught:
        run()
    assert any(re.search(note, text) for text in caught.value.__notes__)
