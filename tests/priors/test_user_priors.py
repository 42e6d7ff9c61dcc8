"""Priors of the user's own start from data, wrap others and are rebuilt from a configuration, as the library's are."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from tests.support.linear_gaussian import linear_gaussian_vae
from vaepriors_jax.base import innermost

KEY = jax.random.key(0)
Z = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
X = np.random.default_rng(1).random((40, 6)).astype(np.float32)


@vp.factory
def centred_normal(dim: int) -> vp.Prior:
    def init(key):
        return {"loc": jnp.zeros(dim)}

    def apply(params, **context):
        return vp.normal_diag(params["loc"], jnp.ones(dim))

    def init_from_data(key, *, z, **data):
        return {"loc": jnp.asarray(z).mean(0)}

    return vp.Prior(init, apply, {}, init_from_data)


@vp.factory
def wrapped(base: vp.Prior) -> vp.Prior:
    def init(key):
        return {"wrapped": base.init(key)}

    def apply(params, **context):
        return base.apply(params["wrapped"], **context)

    def init_from_data(key, **data):
        return {"wrapped": vp.init_from_data(base, key, **data)}

    return vp.Prior(init, apply, {}, init_from_data, vp.Inner(base, "wrapped"))


@vp.factory
def small_vamp(num_components: int) -> vp.Prior:
    return vp.vamp(num_components, (6,), bounds=(-1.0, 2.0))


def test_a_prior_of_three_fields_is_complete():
    prior = vp.Prior(lambda key: {}, lambda params, **context: vp.normal_diag(jnp.zeros(2), jnp.ones(2)), {})
    assert prior.init_from_data is None
    assert prior.inner is None
    assert innermost(prior, {}) == (prior, {})


def test_it_starts_from_the_data_that_it_names():
    np.testing.assert_allclose(vp.init_from_data(centred_normal(2), KEY, z=Z, x=X)["loc"], Z.mean(0), rtol=1e-5)
    with pytest.raises(ValueError, match=r"Expected `z=` to start centred_normal\(dim=2\) from data; got none"):
        vp.init_from_data(centred_normal(2), KEY, x=X)
    with pytest.raises(ValueError, match="finite values in `z`"):
        vp.init_from_data(centred_normal(2), KEY, z=np.full((3, 2), np.nan))


def test_it_reads_context_of_its_own():
    def start(key, *, height, **data):
        return {"loc": jnp.asarray(height)}

    prior = centred_normal(2)._replace(init_from_data=start)
    assert vp.init_from_data(prior, KEY, height=np.ones(2))["loc"].sum() == 2
    with pytest.raises(ValueError, match="Expected `height=` to start"):
        vp.init_from_data(prior, KEY, z=Z)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda prior: vp.transformed(prior, vp.affine_coupling(2)),
        vp.stop_gradient,
        wrapped,
        lambda prior: wrapped(vp.transformed(prior, vp.affine_coupling(2))),
    ],
)
def test_what_wraps_it_starts_from_the_same_data(wrap):
    prior = wrap(centred_normal(2))
    base, params = innermost(prior, vp.init_from_data(prior, KEY, z=Z))
    assert base == centred_normal(2)
    np.testing.assert_allclose(params["loc"], Z.mean(0), rtol=1e-5)
    with pytest.raises(ValueError, match="Expected `z=` to start"):
        vp.init_from_data(prior, KEY)


@pytest.mark.parametrize("wrap", [vp.stop_gradient, wrapped, lambda prior: wrapped(vp.stop_gradient(prior))])
def test_pseudo_inputs_are_found_under_it(wrap):
    prior = wrap(vp.vamp(4, (6,)))
    params = prior.init(KEY)
    expected = vp.pseudo_inputs(vp.vamp(4, (6,)), innermost(prior, params)[1])
    np.testing.assert_array_equal(vp.pseudo_inputs(prior, params), expected)


def test_a_factory_may_return_what_another_one_made():
    prior = small_vamp(4)
    assert repr(prior) == "small_vamp(num_components=4)"
    params = vp.init_from_data(prior, KEY, x=X)
    np.testing.assert_allclose(
        vp.pseudo_inputs(prior, params), vp.pseudo_inputs(vp.vamp(4, (6,), bounds=(-1.0, 2.0)), params)
    )
    assert vp.prior_from_config(vp.plain_config(prior)) == prior


def test_a_frozen_prior_with_fixed_parameters_has_no_start_from_data():
    prior = vp.freeze(vp.mixture(2, 3), vp.mixture(2, 3).init(KEY))
    with pytest.raises(ValueError, match="which can start from data; got stop_gradient"):
        vp.init_from_data(prior, KEY, z=Z)


def test_it_is_fitted_from_its_start():
    vae, params, x = linear_gaussian_vae(200)
    encodings = jax.vmap(lambda x: vae.posterior(params, x).mean())(x)
    for prior in (centred_normal(2), wrapped(centred_normal(2))):
        fitted = vp.fit_prior(prior, vae, params, KEY, x, num_steps=1, learning_rate=1e-12)
        loc = innermost(prior, fitted.prior)[1]["loc"]
        np.testing.assert_allclose(loc, encodings.mean(0), atol=5 / np.sqrt(len(x)))  # z has a spread of at most 1
        assert (loc != 0).all()


def test_it_comes_back_from_its_configuration():
    prior = wrapped(centred_normal(2))
    again = vp.prior_from_config(vp.plain_config(prior))
    assert again == prior
    np.testing.assert_array_equal(
        vp.init_from_data(again, KEY, z=Z)["wrapped"]["loc"], vp.init_from_data(prior, KEY, z=Z)["wrapped"]["loc"]
    )


def define(name: str, module: str):
    """A factory of that name, defined in that module."""

    def make() -> vp.Prior:
        return vp.standard_normal(2)

    make.__name__, make.__module__ = name, module
    return vp.factory(make)


def test_names_of_this_package_are_taken():
    with pytest.raises(ValueError, match="another name than `vamp`, which is the factory of vaepriors_jax.priors.vamp"):
        define("vamp", "my_module")
    assert vp.prior_from_config({"factory": "vamp", "num_components": 2, "input_shape": (3,)}) == vp.vamp(2, (3,))


def test_one_name_in_two_modules_is_refused_when_it_is_looked_up():
    first, _ = define("doubly_defined", "first_module"), define("doubly_defined", "second_module")
    with pytest.raises(ValueError, match=r"got several, of the modules first_module, second_module. Pass the one"):
        vp.prior_from_config(first().config)
    assert vp.prior_from_config(first().config, factories=[first]) == first()


def test_a_factory_may_be_defined_again_in_its_module():
    define("defined_again", "a_notebook")
    newer = define("defined_again", "a_notebook")
    assert vp.prior_from_config({"factory": "defined_again"}) == newer()


def test_a_configuration_of_an_unknown_factory_says_what_to_do():
    with pytest.raises(ValueError, match="Import the module that defines it, or pass the prior to `load_model`"):
        vp.prior_from_config({"factory": "of_another_script"})


def test_every_public_name_is_of_this_package():
    for name in set(vp.__all__) - {"__version__"}:
        value = getattr(vp, name)
        if isinstance(value, types.ModuleType):
            assert value.__name__ == f"vaepriors_jax.{name}"
            continue
        assert value.__module__.startswith("vaepriors_jax."), name


def test_the_earlier_name_of_stop_gradient_warns_and_is_still_read():
    with pytest.warns(DeprecationWarning, match=r"`vp\.frozen` is now called `vp\.stop_gradient`"):
        prior = vp.frozen(vp.mixture(2, 3))
    assert prior == vp.stop_gradient(vp.mixture(2, 3))
    config = vp.plain_config(prior)
    assert vp.prior_from_config(config | {"factory": "frozen"}) == prior
