"""Parameters in any containers come back from a saved model as they were, or nothing is written."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import vaepriors_jax as vp

PRIOR = vp.standard_normal(2)


def round_trip(folder, params, **options):
    vp.save_model(folder, PRIOR, params)
    return vp.load_model(folder, **options)[1]


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert jnp.result_type(a) == jnp.result_type(b)
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    "encoder",
    [
        (jnp.arange(2.0), jnp.arange(3.0)),
        [jnp.arange(2.0), (jnp.arange(3.0), [jnp.ones(1)])],
        {0: jnp.zeros(2), 1: jnp.ones(2)},
        {i: jnp.full(2, float(i)) for i in range(12)},  # as text 10 comes before 2
        {"0": jnp.zeros(2), "1": jnp.ones(2)},
        {"none": jnp.zeros((0, 3)), "some": jnp.ones((2, 3), jnp.bfloat16), "mask": jnp.array([True, False])},
        {"scale": 0.5, "count": 3, "nothing": None, "empty": {}, "pair": ()},
        jnp.float32(2.0),
        jnp.zeros((0,)),
        {},
    ],
    ids=str,
)
def test_containers_come_back_as_they_were(tmp_path, encoder):
    params = vp.VAEParams(encoder, {"weight": jnp.ones(2)}, {})
    assert_same(round_trip(tmp_path, params), params)
    only = vp.VAEParams(encoder, {}, {})
    assert_same(round_trip(tmp_path, only), only)


def test_numbers_keep_their_kind(tmp_path):
    numbers = {"a": 0.5, "b": 3, "c": True, "d": -math.inf, "e": math.nan, "f": 10**400}
    loaded = round_trip(tmp_path, vp.VAEParams(numbers, {"w": jnp.ones(1)}, {})).encoder
    assert [type(loaded[name]) for name in "abcdef"] == [float, int, bool, float, float, int]
    assert repr(loaded) == repr(numbers)


def test_arrays_of_numpy_come_back_whatever_their_order_in_memory(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = [array.T, array.astype(">f4"), array[:, ::2], array.astype(np.float64), np.float32(3)]
    loaded = round_trip(tmp_path, vp.VAEParams(arrays, {}, {}))
    for found, expected in zip(loaded.encoder, arrays, strict=True):
        assert isinstance(found, jax.Array)
        assert found.dtype == jnp.float32
        np.testing.assert_array_equal(found, expected)


def test_the_state_of_a_network_comes_back_like_another(tmp_path):
    network, other = nnx.Linear(2, 3, rngs=nnx.Rngs(0)), nnx.Linear(2, 3, rngs=nnx.Rngs(1))
    params = vp.VAEParams(nnx.state(network), {"weight": jnp.ones(2)}, {})
    vp.save_model(tmp_path, PRIOR, params)
    with pytest.raises(ValueError, match=r"containers that are not saved, flax\..*State. Pass `like=`"):
        vp.load_model(tmp_path)
    loaded = vp.load_model(tmp_path, like=params._replace(encoder=nnx.state(other)))[1]
    assert isinstance(loaded.encoder, nnx.State)
    x = jnp.array([0.5, -2.0])
    assert not np.allclose(other(x), network(x))
    nnx.update(other, loaded.encoder)
    np.testing.assert_array_equal(other(x), network(x))
    wide = params._replace(encoder=nnx.state(nnx.Linear(2, 4, rngs=nnx.Rngs(0))))
    with pytest.raises(ValueError, match=r"`like` to have the structure and shapes .* \[3\] saved, \[4\] in `like`"):
        vp.load_model(tmp_path, like=wide)
    with pytest.raises(ValueError, match="saved, nothing in `like`"):
        vp.load_model(tmp_path, like=params._replace(encoder={}))


@pytest.mark.parametrize(
    "leaf",
    ["text", np.array(["a"]), np.array([None]), jax.random.key(0), object(), np.ones(2, np.clongdouble)],
    ids=["text", "texts", "objects", "key", "object", "long doubles"],
)
def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path, leaf):
    with pytest.raises(ValueError, match=r"arrays of numbers; params\[0\]\['w'\]"):
        vp.save_model(tmp_path / "model", PRIOR, vp.VAEParams({"w": leaf}, {}, {}))
    assert not (tmp_path / "model").exists()
