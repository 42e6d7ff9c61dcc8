"""`generate` with one value of the context for all samples, and with one for each."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp

KEY = jax.random.key(0)


def decode(params, z, *, library):
    return vp.normal_diag(library * jnp.concatenate([z, z]), jnp.ones(4))


VAE = vp.VAE(lambda params, x: vp.normal_diag(x[:2], jnp.ones(2)), decode, vp.standard_normal(2), (), ("library",))
PARAMS = vp.VAEParams({}, {}, {})


def test_one_value_for_all_gives_what_the_same_value_for_each_gives():
    for prior, label in ((vp.standard_normal(2), {}), (vp.conditional_normal(2, num_classes=3), {"y": 1})):
        vae, params = VAE._replace(prior=prior), PARAMS._replace(prior=jax.jit(prior.init)(KEY))
        one = vp.generate(vae, params, KEY, 3, library=2.0, **label)
        assert one.shape == (3, 4)
        np.testing.assert_array_equal(one[:, :2], one[:, 2:])
    narrow = jax.tree.map(lambda leaf: leaf - (20 if leaf is params.prior["log_scale"] else 0), params.prior)
    x = vp.generate(
        vae, params._replace(prior=narrow), KEY, 3, library=np.array([1.0, 2.0, -1.0]), y=jnp.arange(3)[::-1]
    )
    listed = vp.generate(vae, params._replace(prior=narrow), KEY, 3, library=[1.0, 2.0, -1.0], y=[2, 1, 0])
    np.testing.assert_array_equal(x, listed)
    expected = params.prior["loc"][::-1] * np.array([[1.0], [2.0], [-1.0]])
    np.testing.assert_allclose(x[:, :2], expected, atol=1e-4)


def test_a_vector_for_all_with_as_many_entries_as_samples_is_one_value():
    prior = vp.conditional_normal(2, condition_dim=3, hidden=(4,))
    params = PARAMS._replace(prior=jax.tree.map(lambda leaf: leaf + 0.3, prior.init(KEY)))
    y, vae = np.array([0.5, -1.0, 2.0], np.float32), VAE._replace(prior=prior)
    many = vp.generate(vae, params, KEY, 3, y=y, library=1.0)
    z = prior.apply(params.prior, y=y).sample(seed=jax.random.split(KEY)[0], sample_shape=3)
    np.testing.assert_allclose(many[:, :2], z, rtol=1e-6)
    each = vp.generate(vae, params, KEY, 3, y=np.stack([y, y, y]), library=1.0)
    assert each.shape == (3, 4)
    # A decoder that needs a vector gets it whole.
    reads = vae._replace(
        decode=lambda params, z, *, library: vp.normal_diag(jnp.concatenate([z, library]), jnp.ones(4))
    )
    whole = vp.generate(reads, params, KEY, 2, y=y, library=np.array([7.0, 8.0]))
    np.testing.assert_array_equal(whole[:, 2:], [[7.0, 8.0]] * 2)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({"y": np.arange(2)}, r"one value for all samples, \[\], or one for each of num_samples=5, \[5\]; got `y` of"),
        ({"y": np.arange(5)}, "labels in `y` from 0 to 2"),
        ({"library": np.ones(3)}, r"for each of num_samples=5, \[num_samples, ...\]; got .*`library` of shape \[3\]"),
    ],
)
def test_another_number_of_values_is_refused(context, message):
    prior = vp.conditional_normal(2, num_classes=3)
    vae, params = VAE._replace(prior=prior), PARAMS._replace(prior=prior.init(KEY))
    with pytest.raises((ValueError, TypeError)) as caught:
        vp.generate(vae, params, KEY, 5, **({"y": 1, "library": 1.0} | context))
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert re.search(message, text), text
