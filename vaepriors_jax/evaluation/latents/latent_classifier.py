"""A classifier between two sets of latents, stopped early: behind the divergence, the density ratio and the test."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from vaepriors_jax.checks import check_finite

# Standardised inputs beyond this are cut: the square of an outlier would decide the logit alone.
_LARGEST_INPUT = 10.0
_STEPS_PER_CHECK = 50
# Checks without a better validation loss after which training stops.
_PATIENCE = 10
# A classifier is kept where its validation loss is below chance by this many standard errors.
_LEAST_GAIN = 2.0
# Distances held at a time: 32 MiB of float32.
_CHUNK_ENTRIES = 2**23


def check_samples(least: int = 4, *, by_example: bool = False, **samples: Any) -> list[jax.Array]:
    """The samples as arrays [N, dim], or [N, S, dim] where `by_example`; raises unless finite and of one dimension."""
    for name, value in samples.items():
        if hasattr(value, "log_prob"):
            raise TypeError(f"Expected samples [N, dim] as `{name}`; got a distribution. Draw from it with `sample`.")
    arrays = {name: jnp.asarray(value) for name, value in samples.items()}
    arrays = {name: a if jnp.issubdtype(a.dtype, jnp.floating) else a.astype(float) for name, a in arrays.items()}
    shapes = "[N, dim] or [N, S, dim]" if by_example else "[N, dim]"
    for name, array in arrays.items():
        if array.ndim not in ((2, 3) if by_example else (2,)) or array.shape[0] < least or 0 in array.shape:
            raise ValueError(f"Expected `{name}` of shape {shapes} with N >= {least}; got {array.shape}.")
        check_finite(name, array)
    if len({array.shape[-1] for array in arrays.values()}) > 1:
        raise ValueError(f"Expected samples of one dimension; got {[a.shape for a in arrays.values()]}.")
    return list(arrays.values())


class _Network(nn.Module):
    """A logit from a multilayer perceptron, and a quadratic function beside it; 0 everywhere at the start."""

    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, z: jax.Array, distances: jax.Array) -> jax.Array:
        inputs = jnp.concatenate([z, distances], axis=-1)
        hidden = inputs
        for width in self.hidden:
            hidden = nn.silu(nn.Dense(width)(hidden))
        readout = partial(nn.Dense, 1, kernel_init=nn.initializers.zeros)
        # The products of two coordinates are many: at a square's rate they would drown it in noise in 40 dimensions.
        products = nn.Dense(z.shape[-1], use_bias=False, kernel_init=nn.initializers.zeros, name="products")(z)
        quadratic = jnp.sum(z * products, axis=-1) / z.shape[-1]
        return readout()(jnp.concatenate([hidden, inputs, z**2], axis=-1))[..., 0] + quadratic


class LatentClassifier(NamedTuple):
    """A trained classifier; its logit is log q(z) / p(z).

    Attributes:
        logit: function of z [..., dim], in nats: [...].
        steps: the number of steps after which the validation loss was least; 0 where it was not clearly below chance.
    """

    logit: Callable[[jax.Array], jax.Array]
    steps: jax.Array


def _log_distances(z: jax.Array, reference: jax.Array, *, own: bool) -> jax.Array:
    """Log of the squared distance [N] of each point to the nearest of `reference`; `own`: the point itself excepted."""

    def one(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        point, row = inputs
        squared = squares - 2 * jnp.matmul(reference, point, precision=jax.lax.Precision.HIGHEST)
        if own:
            squared = squared.at[row].set(jnp.inf)
        # By its difference, since the product cancels for near points.
        return jnp.sum((point - reference[jnp.argmin(squared)]) ** 2)

    squares = jnp.sum(reference**2, axis=1)
    rows = max(1, min(len(z), _CHUNK_ENTRIES // len(reference)))
    nearest = jax.lax.map(one, (z, jnp.arange(len(z))), batch_size=rows)
    return jnp.log(nearest + 1e-8 * z.shape[1])


@partial(jax.jit, static_argnames=("hidden", "num_steps", "batch_size"))
def _train(
    key: jax.Array,
    q: tuple[jax.Array, jax.Array],
    p: tuple[jax.Array, jax.Array],
    q_valid: tuple[jax.Array, jax.Array],
    p_valid: tuple[jax.Array, jax.Array],
    hidden: tuple[int, ...],
    num_steps: int,
    batch_size: int,
) -> tuple[Any, jax.Array]:
    """Parameters at the least validation loss, and the step of it; 0 if the loss is not clearly below chance."""
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
            rows = jax.random.randint(key, (batch_size,), 0, len(samples[0]))
            batches.append((samples[0][rows], samples[1][rows]))
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
    # The least of many checks is below chance by luck too, where q and p are alike.
    final = losses(best, q_valid, p_valid)
    error = 0.5 * jnp.sqrt(sum(jnp.var(values) / len(values) for values in final))
    better = jnp.log(2.0) - 0.5 * sum(jnp.mean(values) for values in final) > _LEAST_GAIN * error
    return best, jnp.where(better, best_index, 0)


@partial(jax.jit, static_argnames=("distances", "own"))
def _inputs(
    z: jax.Array,
    reference: tuple[jax.Array, jax.Array],
    centre: jax.Array,
    scale: jax.Array,
    *,
    distances: bool,
    own: str,
) -> tuple[jax.Array, jax.Array]:
    """Standardised z [N, dim], and log-distances [N, 2] to the nearest of the training samples of q and of p."""
    standardised = (z - centre) / scale
    columns = [
        _log_distances(standardised, other, own=own == name)
        for name, other in zip("qp", reference, strict=True)
        if distances
    ]
    return (
        jnp.clip(standardised, -_LARGEST_INPUT, _LARGEST_INPUT),
        jnp.stack(columns, axis=-1) if columns else jnp.zeros((len(z), 0), z.dtype),
    )


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
    """Trains a classifier between two sets of samples; each batch holds as many of one as of the other.

    Training stops when the loss of the validation samples no longer falls, and the parameters at its minimum are kept.
    Unless that minimum is two standard errors below chance, the logit is 0 everywhere.

    Args:
        key: a random key.
        q: samples [N, dim] of the class with positive logits.
        p: samples [M, dim] of the other.
        q_valid: validation samples of q.
        p_valid: validation samples of p.
        hidden: widths of the perceptron's layers.
        num_steps: the most steps of training.
        batch_size: samples a step, half of each class.
        distances: whether the classifier also reads the distances to the nearest training samples of q and of p. By
            them it sees samples that are near copies of each other.

    Returns:
        A `LatentClassifier`.
    """
    means, variances = [jnp.mean(a, axis=0) for a in (q, p)], [jnp.var(a, axis=0) for a in (q, p)]
    centre = 0.5 * (means[0] + means[1])
    scale = jnp.sqrt(0.5 * (variances[0] + variances[1]) + 0.25 * (means[0] - means[1]) ** 2)
    scale = jnp.where(scale > 0, scale, 1.0)
    reference = (q - centre) / scale, (p - centre) / scale
    prepare = partial(_inputs, reference=reference, centre=centre, scale=scale, distances=distances)
    train = prepare(q, own="q"), prepare(p, own="p")
    both = jnp.concatenate([train[0][1], train[1][1]])
    shift, spread = jnp.mean(both, axis=0), jnp.std(both, axis=0)
    spread = jnp.where(spread > 0, spread, 1.0)

    def finish(inputs: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        return inputs[0], jnp.clip((inputs[1] - shift) / spread, -_LARGEST_INPUT, _LARGEST_INPUT)

    valid = [finish(prepare(a, own="")) for a in (q_valid, p_valid)]
    half = max(1, batch_size // 2)
    params, steps = _train(key, finish(train[0]), finish(train[1]), *valid, hidden, num_steps, half)

    def logit(z: jax.Array) -> jax.Array:
        z = jnp.asarray(z, centre.dtype)
        values = _Network(hidden).apply(params, *finish(prepare(z.reshape(-1, z.shape[-1]), own="")))
        return jnp.where(steps > 0, jnp.asarray(values), 0.0).reshape(z.shape[:-1])

    return LatentClassifier(logit, steps)
