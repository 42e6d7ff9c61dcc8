"""How probable the data are: the ELBO of each example, and importance-weighted log p(x)."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import VAE, VAEParams, split_context
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.objectives import ELBO, elbo, log_importance_weights


class LogMarginal(NamedTuple):
    """Importance-weighted estimates of log p(x), in nats.

    Attributes:
        values: estimate for each example [N]; a lower bound in expectation.
        effective_sample_size: effective number of samples behind each, between 1 and `num_samples` [N].
        mean: mean over examples.
        standard_error: its standard error from the choice of examples.
    """

    values: jax.Array
    effective_sample_size: jax.Array
    mean: jax.Array
    standard_error: jax.Array


def map_elbo(vae: VAE, params: VAEParams, key: jax.Array, data: dict[str, jax.Array], chunk_size: int) -> ELBO:
    """The ELBO at beta = 1 of each example [N], in chunks; not compiled, not checked."""
    keys = jax.random.split(key, data["x"].shape[0])
    context = {name: value for name, value in data.items() if name != "x"}

    def one(inputs: Any) -> ELBO:
        key, x, context = inputs
        return elbo(vae, params, key, x, **context)

    return jax.lax.map(one, (keys, data["x"], context), batch_size=chunk_size)


@partial(jax.jit, static_argnums=(0, 4))
def _map_elbo(vae: VAE, params: VAEParams, key: jax.Array, data: Any, chunk_size: int) -> ELBO:
    return map_elbo(vae, params, key, data, chunk_size)


def evaluate_elbo(
    vae: VAE, params: VAEParams, key: jax.Array, x: Any, *, chunk_size: int = 500, **context: Any
) -> ELBO:
    """The ELBO, reconstruction and KL of each example, at beta = 1, in nats.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: examples [N, ...].
        chunk_size: examples at a time.
        **context: per-example context [N, ...], such as `y=`.

    Returns:
        An `ELBO` of arrays [N].
    """
    check_positive_integer(chunk_size=chunk_size)
    data = check_data(vae, params, {"x": x, **context}, key)
    return _map_elbo(vae, params, key, data, chunk_size)


class _Stream(NamedTuple):
    """Running log-sums of weights and of squared weights."""

    first: jax.Array
    second: jax.Array


def _extend(stream: _Stream, log_weights: jax.Array) -> _Stream:
    return _Stream(
        jnp.logaddexp(stream.first, jax.nn.logsumexp(log_weights)),
        jnp.logaddexp(stream.second, jax.nn.logsumexp(2 * log_weights)),
    )


@partial(jax.jit, static_argnums=(0, 5, 6))
def _log_marginal(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: dict[str, jax.Array],
    shared: dict[str, Any],
    num_samples: int,
    chunk_size: int,
) -> tuple[jax.Array, jax.Array]:
    block = min(num_samples, chunk_size)
    num_blocks, remainder = divmod(num_samples, block)
    per_example = {name: value for name, value in data.items() if name != "x"}
    common_prior = None if per_example else vae.latent_prior(params, **shared)

    def one(inputs: Any) -> tuple[jax.Array, jax.Array]:
        key, x, context = inputs
        context = context | shared
        posterior = vae.posterior(params, x, **context)
        prior = vae.latent_prior(params, **context) if common_prior is None else common_prior
        weigh = partial(log_importance_weights, vae, params, posterior, prior, **context)

        def step(stream: _Stream, index: jax.Array) -> tuple[_Stream, None]:
            return _extend(stream, weigh(jax.random.fold_in(key, index), x, block)), None

        empty = jnp.full((), -jnp.inf, x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else None)
        stream, _ = jax.lax.scan(step, _Stream(empty, empty), jnp.arange(num_blocks))
        if remainder:
            stream = _extend(stream, weigh(jax.random.fold_in(key, num_blocks), x, remainder))
        return stream.first - jnp.log(num_samples), jnp.exp(2 * stream.first - stream.second)

    keys = jax.random.split(key, data["x"].shape[0])
    examples_at_once = max(1, chunk_size // num_samples)
    return jax.lax.map(one, (keys, data["x"], per_example), batch_size=examples_at_once)


def log_marginal(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    num_samples: int = 5000,
    chunk_size: int = 1000,
    **context: Any,
) -> LogMarginal:
    r"""Importance-weighted log p(x) of each example.

    $\log \hat p(x) = \log \frac1S \sum_s p(x|z_s)\, p(z_s) / q(z_s|x)$ with $z_s \sim q(z|x)$: a lower bound in
    expectation, whose gap closes as S grows. Its sign is that of a log-density: larger is better.

    The sum is streamed, so that memory grows neither with S nor with N; each x is encoded once, and a prior that reads
    no per-example context is computed once. With a conditional prior and labels this is log p(x|y).

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: examples [N, ...].
        num_samples: S, exactly.
        chunk_size: samples of z that are decoded at a time; on an accelerator take more.
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
    check_positive_integer(num_samples=num_samples, chunk_size=chunk_size)
    per_example, shared = split_context(context)
    data = check_data(vae, params, {"x": x, **per_example}, key)
    values, sample_size = _log_marginal(vae, params, key, data, shared, num_samples, chunk_size)
    return _with_error(values, sample_size)


def _with_error(values: jax.Array, effective_sample_size: jax.Array) -> LogMarginal:
    num_examples = values.shape[0]
    error = jnp.std(values, ddof=1) / jnp.sqrt(num_examples) if num_examples > 1 else jnp.full((), jnp.nan)
    return LogMarginal(values, effective_sample_size, jnp.mean(values), error)


def log_marginal_over_classes(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    class_probabilities: Any,
    num_samples: int = 5000,
    chunk_size: int = 1000,
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
        **context: other context.

    Returns:
        A `LogMarginal`, in nats; its effective sample size is that of the most probable class.

    Raises:
        ValueError: the probabilities do not sum to 1, and as `log_marginal`.
    """
    probabilities = np.asarray(class_probabilities, np.float64)
    if probabilities.ndim != 1 or (probabilities < 0).any() or abs(probabilities.sum() - 1) > 1e-5:
        raise ValueError(f"Expected `class_probabilities` >= 0 that sum to 1; got {class_probabilities!r}.")
    x = jnp.asarray(x)
    terms, sizes = [], []
    for label, probability in enumerate(probabilities):
        if probability > 0:
            y = jnp.full(x.shape[:1], label)
            given = log_marginal(
                vae,
                params,
                jax.random.fold_in(key, label),
                x,
                y=y,
                num_samples=num_samples,
                chunk_size=chunk_size,
                **context,
            )
            terms.append(given.values + float(np.log(probability)))
            sizes.append(given.effective_sample_size)
    joint = jnp.stack(terms)
    best = jnp.argmax(joint, axis=0)
    size = jnp.take_along_axis(jnp.stack(sizes), best[None], axis=0)[0]
    return _with_error(jax.nn.logsumexp(joint, axis=0), size)
