"""The cost of a program, counted in its trace: the operations of its matrix products, and its largest array.

XLA's own count includes the body of a loop once, however often it runs.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

import vaepriors_jax as vp
from experiments.data.dataset import Dataset
from experiments.models.trained import training_data
from vaepriors_jax.training.step import update


def _inner(equation: Any) -> Iterator[tuple[int, Any]]:
    """The programs within an instruction, and how often each runs."""
    times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
    for value in equation.params.values():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield times, inner


def operations(jaxpr: Any) -> int:
    """Floating-point operations of the matrix products; of a condition all branches."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            inner = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * inner * math.prod(equation.outvars[0].aval.shape)
        total += sum(times * operations(inner) for times, inner in _inner(equation))
    return total


def largest_array(jaxpr: Any) -> int:
    """Number of elements of the largest array that is computed."""
    own = [math.prod(variable.aval.shape) for equation in jaxpr.eqns for variable in equation.outvars]
    return max([*own, *(largest_array(inner) for equation in jaxpr.eqns for _, inner in _inner(equation))], default=0)


def step_operations(vae: vp.VAE, params: vp.VAEParams, data: Dataset, batch_size: int) -> int:
    """Operations of the matrix products of one step of training, of one replica."""
    batch = {name: jnp.asarray(values[:batch_size]) for name, values in training_data(vae, data).items()}
    optimizer = optax.adam(1e-3)
    state = jax.eval_shape(partial(vp.init_train_state, optimizer=optimizer), params)
    step = partial(update, vae, optimizer, transform=data.transform)
    return operations(jax.make_jaxpr(step)(state, jax.random.key(0), batch).jaxpr)


def decoded_at_once(vae: vp.VAE, params: vp.VAEParams, data: Dataset, elements: int = 2**26) -> int:
    """How many z, at most 1000, can be decoded at a time with arrays of at most so many elements."""
    x, context = data.train["x"][0], {name: data.train[name][0] for name in vae.decoder_context}

    def decode(params: vp.VAEParams, x: jax.Array, context: dict[str, jax.Array]) -> jax.Array:
        z = vae.posterior(params, x, **context).sample(seed=jax.random.key(0))
        return vae.likelihood(params, z, **context).log_prob(x)

    largest = largest_array(jax.make_jaxpr(decode)(params, x, context).jaxpr)
    return max(1, min(1000, elements // max(largest, 1)))
