"""Loops over chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vaepriors_jax.loops import map_chunks


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("size", "chunk_size"), [(1, 1), (5, 5), (5, 6), (6, 3), (7, 3), (7, 6), (11, 4), (0, 3)])
def test_each_slice_is_mapped_once_and_in_order(size, chunk_size, compiled):
    arrays = {
        "x": np.arange(3 * size, dtype=np.float32).reshape(size, 3),
        "key": jax.random.split(jax.random.key(0), size),
    }

    def function(one):
        return {"sum": jnp.sum(one["x"]), "draw": jax.random.uniform(one["key"], (2,))}

    def mapped(arrays):
        return map_chunks(function, arrays, chunk_size)

    found = (jax.jit(mapped) if compiled else mapped)(arrays)
    np.testing.assert_array_equal(found["sum"], arrays["x"].sum(1))
    np.testing.assert_array_equal(found["draw"], jax.vmap(lambda key: jax.random.uniform(key, (2,)))(arrays["key"]))


def test_a_remainder_is_no_second_copy_of_the_function():
    shapes = []

    def function(x):
        shapes.append(x.shape)
        return jnp.sin(x)

    program = jax.jit(lambda x: map_chunks(function, x, 4))
    assert program.lower(jnp.ones((10, 2))).as_text().count("stablehlo.sine") == 1
    assert len(shapes) == 1


def test_gradients_count_each_slice_once():
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(map_chunks(lambda row: jnp.sum(row**2), x, 4))))
    x = jnp.arange(20.0).reshape(10, 2)
    np.testing.assert_allclose(gradient(x), 2 * x)
