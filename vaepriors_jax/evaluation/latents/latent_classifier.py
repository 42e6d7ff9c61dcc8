"""A classifier between two sets of latents, with early stopping; it gives divergence, density ratio and test."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from vaepriors_jax.evaluation.latents.classifier_inputs import Inputs, scale_inputs

_STEPS_PER_CHECK = 50
# Checks without a better validation loss after which training stops.
_PATIENCE = 10
# A classifier is kept if its validation loss is below chance by this many standard errors.
_LEAST_GAIN = 2.0


class _Network(nn.Module):
    """A logit: a multilayer perceptron plus a quadratic function; 0 everywhere at the start."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, z: jax.Array, distances: jax.Array) -> jax.Array:
        inputs = jnp.concatenate([z, distances], axis=-1)
        hidden = inputs
        for width in self.hidden:
            hidden = nn.silu(nn.Dense(width)(hidden))
        readout = partial(nn.Dense, 1, kernel_init=nn.initializers.zeros)
        # There are many products of two coordinates: at the learning rate of the squares they would drown the logit in
        # noise in 40 dimensions.
        products = nn.Dense(z.shape[-1], use_bias=False, kernel_init=nn.initializers.zeros, name="products")(z)
        quadratic = jnp.sum(z * products, axis=-1) / z.shape[-1]
        return readout()(jnp.concatenate([hidden, inputs, z**2], axis=-1))[..., 0] + quadratic


class LatentClassifier(NamedTuple):
    """A trained classifier; its logit is log q(z) / p(z).

    Attributes:
        logit: function of z [..., dim] in nats: [...].
        steps: the number of steps after which the validation loss was least; 0 where it was not clearly below chance.
    """

    logit: Callable[[jax.Array], jax.Array]
    steps: jax.Array


@partial(jax.jit, static_argnames=("hidden", "num_steps", "batch_size"))
def _train(
    key: jax.Array,
    q: Inputs,
    p: Inputs,
    q_valid: Inputs,
    p_valid: Inputs,
    hidden: tuple[int, ...],
    num_steps: int,
    batch_size: int,
) -> tuple[Any, jax.Array]:
    """Parameters at the least validation loss, and the number of steps; 0 if the loss is not clearly below chance."""
    network = _Network(hidden)
    key_init, key_steps = jax.random.split(key)
    params = network.init(key_init, *q)
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, num_steps), weight_decay=1e-3)

    def losses(params: Any, q: Any, p: Any) -> list[jax.Array]:
        logit_q, logit_p = (jnp.asarray(network.apply(params, *samples)) for samples in (q, p))
        return [jax.nn.softplus(-logit_q), jax.nn.softplus(logit_p)]

    def loss(params: Any, q: Any, p: Any) -> jax.Array:
        return 0.5 * sum((jnp.mean(values) for values in losses(params, q, p)), jnp.zeros(()))

    def step(index: jax.Array, carry: Any) -> Any:
        params, state = carry
        batches = []
        for key, samples in zip(jax.random.split(jax.random.fold_in(key_steps, index)), (q, p), strict=True):
            rows = jax.random.randint(key, (batch_size,), 0, len(samples.z))
            batches.append((samples.z[rows], samples.log_distances[rows]))
        updates, state = optimizer.update(jax.grad(loss)(params, *batches), state, params)
        return optax.apply_updates(params, updates), state

    def unfinished(carry: Any) -> jax.Array:
        _, _, index, (_, _, best_index) = carry
        return (index < num_steps) & (index - best_index <= _PATIENCE * _STEPS_PER_CHECK)

    def until_next_check(carry: Any) -> Any:
        params, state, index, best = carry
        end = jnp.minimum(index + _STEPS_PER_CHECK, num_steps)
        params, state = jax.lax.fori_loop(index, end, step, (params, state))
        valid = loss(params, q_valid, p_valid)
        best = jax.tree.map(lambda new, old: jnp.where(valid < best[1], new, old), (params, valid, end), best)
        return params, state, end, best

    start = jnp.zeros((), int)
    first = (params, loss(params, q_valid, p_valid), start)
    *_, (best, _, best_index) = jax.lax.while_loop(
        unfinished, until_next_check, (params, optimizer.init(params), start, first)
    )
    # The least of many checks can be below chance by luck, even if q and p are equal.
    final = losses(best, q_valid, p_valid)
    error = 0.5 * jnp.sqrt(sum(jnp.var(values) / len(values) for values in final))
    better = jnp.log(2.0) - 0.5 * sum(jnp.mean(values) for values in final) > _LEAST_GAIN * error
    return best, jnp.where(better, best_index, 0)


def train_classifier(
    key: jax.Array,
    q: jax.Array,
    p: jax.Array,
    q_valid: jax.Array,
    p_valid: jax.Array,
    *,
    hidden: tuple[int, ...],
    num_steps: int,
    batch_size: int,
    distances: bool,
) -> LatentClassifier:
    """Trains a classifier between two sets of samples; each batch has equally many of both.

    Training stops when the loss on the validation samples no longer falls, and the parameters at its minimum are kept.
    Unless that minimum is two standard errors below chance, the logit is 0 everywhere.

    Args:
        key: a random key.
        q: samples [N, dim] of the class with positive logits.
        p: samples [M, dim] of the other class.
        q_valid: validation samples of q.
        p_valid: validation samples of p.
        hidden: widths of the perceptron's layers.
        num_steps: maximum number of training steps.
        batch_size: samples in a step, half of each class.
        distances: whether the classifier also reads the distances to the nearest training samples of q and of p, by
            which it recognises samples that are near copies of each other.

    Returns:
        A `LatentClassifier`.
    """
    scaling = scale_inputs(q, p, distances=distances)
    valid = scaling.inputs_of(q_valid), scaling.inputs_of(p_valid)
    half = max(1, batch_size // 2)
    params, steps = _train(key, scaling.q, scaling.p, *valid, hidden, num_steps, half)

    def logit(z: jax.Array) -> jax.Array:
        z = jnp.asarray(z, scaling.q.z.dtype)
        values = _Network(hidden).apply(params, *scaling.inputs_of(z.reshape(-1, z.shape[-1])))
        return jnp.where(steps > 0, jnp.asarray(values), 0.0).reshape(z.shape[:-1])

    return LatentClassifier(logit, steps)
