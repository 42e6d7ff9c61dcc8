"""How probable the data are: importance-weighted log p(x) of each example."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data, label_counts
from vaepriors_jax.evaluation import estimates
from vaepriors_jax.evaluation.likelihood.importance_weights import (
    Reading,
    Stream,
    curve_sizes,
    empty_stream,
    extend,
    read_off,
)
from vaepriors_jax.objectives import log_importance_weights
from vaepriors_jax.parallel.sharding import Data, check_mesh, load, map_examples, replicate, to_one_device
from vaepriors_jax.vae import VAE, VAEParams, context_of, split_context


class LogMarginal(NamedTuple):
    """Importance-weighted estimates of log p(x), in nats.

    Attributes:
        values: estimate for each example [N]; a lower bound in expectation.
        effective_sample_size: effective number of samples behind each, between 1 and `num_samples` [N].
        mean: mean over examples.
        standard_error: its standard error from the choice of examples.
        pareto_k: shape of the tail of each example's importance weights [N]. Above about 0.7 the estimate is not
            to be trusted, whatever its effective sample size; a small one is no proof. NaN for 29
            samples or fewer; minus infinity where the largest weights are all equal.
        curve: the mean bound over examples at S = 1 (the ELBO), 10, 100, 1000, 5000 and `num_samples`, as far as these
            are not more than `num_samples`: {S: bound}. Where it still rises at its end, the estimate is too low.
    """

    values: jax.Array
    effective_sample_size: jax.Array
    mean: jax.Array
    standard_error: jax.Array
    pareto_k: jax.Array
    curve: dict[int, jax.Array]


@partial(jax.jit, static_argnums=(0, 5, 6, 7))
def _log_marginal(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: Data,
    shared: dict[str, Any],
    num_samples: int,
    chunk_size: int,
    mesh: Mesh | None = None,
) -> Reading:
    of_device = partial(_log_marginal_of_device, vae, num_samples, chunk_size)
    return map_examples(mesh, of_device, key, data, params, shared)


def _log_marginal_of_device(
    vae: VAE,
    num_samples: int,
    chunk_size: int,
    keys: jax.Array,
    data: dict[str, jax.Array],
    params: VAEParams,
    shared: dict[str, Any],
) -> Reading:
    block = min(num_samples, chunk_size)
    num_blocks, remainder = divmod(num_samples, block)
    per_example = context_of(data)
    common_prior = None if per_example else vae.latent_prior(params, **shared)

    def one(inputs: Any) -> Reading:
        key, x, context = inputs
        context = context | shared
        posterior = vae.posterior(params, x, **context)
        prior = vae.latent_prior(params, **context) if common_prior is None else common_prior
        weigh = partial(log_importance_weights, vae, params, posterior, prior, **context)

        def step(stream: Stream, index: jax.Array) -> tuple[Stream, None]:
            return extend(stream, weigh(jax.random.fold_in(key, index), x, block), index * block), None

        dtype = jax.eval_shape(lambda: weigh(key, x, 1)).dtype
        stream, _ = jax.lax.scan(step, empty_stream(num_samples, block, dtype), jnp.arange(num_blocks))
        if remainder:
            log_weights = weigh(jax.random.fold_in(key, num_blocks), x, remainder)
            stream = extend(stream, log_weights, num_blocks * block)
        return read_off(stream, num_samples, block)

    examples_at_once = max(1, chunk_size // num_samples)
    return jax.lax.map(one, (keys, data["x"], per_example), batch_size=examples_at_once)


def _estimate(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    num_samples: int,
    chunk_size: int,
    mesh: Mesh | None,
    context: dict[str, Any],
) -> Reading:
    check_positive_integer(num_samples=num_samples, chunk_size=chunk_size)
    per_example, shared = split_context(context)
    mesh = check_mesh(mesh)
    data = load(mesh, {"x": x, **per_example}, partial(check_data, vae, params, key=key))
    params, key, shared = replicate(mesh, (params, key, shared))
    return to_one_device(mesh, _log_marginal(vae, params, key, data, shared, num_samples, chunk_size, mesh))


def _summarize(estimate: Reading, num_samples: int) -> LogMarginal:
    mean, error = estimates.estimate(estimate.values)
    curve = dict(zip(curve_sizes(num_samples), jnp.mean(estimate.curve, axis=0), strict=True))
    return LogMarginal(estimate.values, estimate.effective_sample_size, mean, error, estimate.pareto_k, curve)


def log_marginal(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    num_samples: int = 5000,
    chunk_size: int = 1000,
    mesh: Mesh | None = None,
    **context: Any,
) -> LogMarginal:
    r"""Importance-weighted log p(x) of each example.

    $\log \hat p(x) = \log \frac1S \sum_s p(x|z_s)\, p(z_s) / q(z_s|x)$ with $z_s \sim q(z|x)$: a lower bound in
    expectation, whose gap closes as S grows. Its sign is that of a log-density: larger is better.

    The sum is streamed, so that memory grows neither with S nor with N; each x is encoded once, and a prior that reads
    no per-example context is computed once. With a conditional prior and labels this is log p(x|y).

    The curve in S comes from the same samples. A point at a size that fits into `chunk_size` is the mean over disjoint
    groups of so many samples, the ELBO for instance over all of them; a larger one is that of the first so many.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: examples [N, ...].
        num_samples: S, exactly.
        chunk_size: samples of z that are decoded at a time, on each device; on an accelerator take more.
        mesh: devices to share the examples out over, such as `vaepriors_jax.parallel.make_mesh()`. The values are those
            of one device. With several processes `x` and its context are the share of this process, and each gets the
            values of all examples, in the order of processes.
        **context: per-example context [N, ...], such as `y=`, or shared context, such as `data=`.

    Returns:
        A `LogMarginal`, in nats.

    Raises:
        ValueError: data that are not finite or outside the likelihood's support; `num_samples` < 1.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(jnp.zeros(3)),
        ...     prior=vp.standard_normal(2))
        >>> estimate = vp.log_marginal(
        ...     vae, vp.VAEParams({}, {}, {}), jax.random.key(0), jnp.ones((4, 3)), num_samples=10)
        >>> print(f"{estimate.mean:.4f} {estimate.standard_error:.4f}")
        -2.0794 0.0000

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, eq. 8.
    """
    return _summarize(_estimate(vae, params, key, x, num_samples, chunk_size, mesh, context), num_samples)


def log_marginal_over_classes(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    class_probabilities: Any,
    num_samples: int = 5000,
    chunk_size: int = 1000,
    mesh: Mesh | None = None,
    **context: Any,
) -> LogMarginal:
    r"""log p(x) of a model given a label, $\log \sum_y p(y)\, p(x|y)$, each p(x|y) importance-weighted with S samples.

    Args:
        vae: a VAE whose networks or prior read the label `y`.
        params: its parameters.
        key: a random key.
        x: examples [N, ...].
        class_probabilities: p(y) [C], which sum to 1.
        num_samples: S for each class.
        chunk_size: see `log_marginal`.
        mesh: see `log_marginal`.
        **context: other context.

    Returns:
        A `LogMarginal`, in nats; its effective sample size and its Pareto k are those of the most probable class, and
        its curve sums the classes' curves, each with S samples for each class.

    Raises:
        ValueError: the probabilities do not sum to 1, or are not one for each class, and as `log_marginal`.
    """
    probabilities = np.asarray(class_probabilities, np.float64)
    if probabilities.ndim != 1 or (probabilities < 0).any() or abs(probabilities.sum() - 1) > 1e-5:
        raise ValueError(f"Expected `class_probabilities` >= 0 that sum to 1; got {class_probabilities!r}.")
    for num_classes in label_counts(vae.prior.config):
        if num_classes != len(probabilities):
            raise ValueError(f"Expected one probability for each of {num_classes} classes; got {len(probabilities)}.")
    x = jnp.asarray(x)
    given = []
    for label, probability in enumerate(probabilities):
        if probability > 0:
            labels = {"y": jnp.full(x.shape[:1], label)}
            key_label = jax.random.fold_in(key, label)
            estimate = _estimate(vae, params, key_label, x, num_samples, chunk_size, mesh, context | labels)
            log_probability = float(np.log(probability))
            values, curve = estimate.values + log_probability, estimate.curve + log_probability
            given.append(estimate._replace(values=values, curve=curve))
    joint = jax.tree.map(lambda *leaves: jnp.stack(leaves), *given)
    best = jnp.argmax(joint.values, axis=0)[None]
    total = Reading(
        jax.nn.logsumexp(joint.values, axis=0),
        jnp.take_along_axis(joint.effective_sample_size, best, axis=0)[0],
        jnp.take_along_axis(joint.pareto_k, best, axis=0)[0],
        jax.nn.logsumexp(joint.curve, axis=0),
    )
    return _summarize(total, num_samples)
