"""Importance-weighted log p(x) of each example."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.evaluation.estimates import Estimate, estimate
from vaepriors_jax.evaluation.likelihood.importance_weights import (
    WeightStream,
    WeightSummary,
    curve_sizes,
    empty_stream,
    extend,
    summarize,
)
from vaepriors_jax.evaluation.likelihood.normalizer import with_normalizer_error
from vaepriors_jax.evaluation.per_example import map_data
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.objectives import log_importance_weights, weighted_mean
from vaepriors_jax.parallel.sharding import Data, check_mesh, map_examples
from vaepriors_jax.vae import VAE, VAEParams, context_of


class LogMarginal(NamedTuple):
    """Importance-weighted estimates of log p(x), in nats.

    Attributes:
        values: estimate for each example [N]; a lower bound in expectation.
        effective_sample_size: effective number of samples behind each value, between 1 and `num_samples` [N].
        pareto_k: shape of the tail of each example's importance weights [N]. Above about 0.7 the estimate is not
            reliable, whatever its effective sample size; a small k is no proof that it is. NaN for fewer than 30
            samples; minus infinity where the largest weights are all equal.
        average: mean of `values`, with its standard error from the choice of examples.
        curve: the mean bound over examples at S = 1 (the ELBO), 10, 100, 1000, 5000 and `num_samples`, up to
            `num_samples`: {S: bound}. Where it still rises at its end, the estimate is too low.
        normalizer_error: for a prior whose normaliser Z is an estimate in its state, such as `resampled`, how far one
            standard error of Z moves `values` [N]; for `flow_matching` the error of its density; None for other priors.
            Z is the same for all examples, so that their mean does not lower this error, and `average` does not include
            it.
        normalizer_bias: what the estimate of Z adds to `values` in expectation, to second order [N]: above 0 where
            they are too high.
    """

    values: jax.Array
    effective_sample_size: jax.Array
    pareto_k: jax.Array
    average: Estimate[jax.Array]
    curve: dict[int, jax.Array]
    normalizer_error: jax.Array | None = None
    normalizer_bias: jax.Array | None = None

    @property
    def mean(self) -> jax.Array:
        """Short for `average.mean`."""
        return self.average.mean

    @property
    def standard_error(self) -> jax.Array:
        """Short for `average.standard_error`."""
        return self.average.standard_error


@partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _weigh(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: Data,
    num_samples: int,
    chunk_size: int,
    mesh: Mesh | None = None,
    places: Any = None,
) -> WeightSummary:
    return map_examples(mesh, partial(_weigh_on_device, vae, num_samples, chunk_size), key, data, params, places=places)


def _weigh_on_device(
    vae: VAE, num_samples: int, chunk_size: int, keys: jax.Array, data: dict[str, jax.Array], params: VAEParams
) -> WeightSummary:
    def weigh(params: VAEParams) -> WeightSummary:
        return _weigh_given(vae, num_samples, chunk_size, keys, data, params)

    return with_normalizer_error(weigh, params)


def _weigh_given(
    vae: VAE, num_samples: int, chunk_size: int, keys: jax.Array, data: dict[str, jax.Array], params: VAEParams
) -> WeightSummary:
    block = min(num_samples, chunk_size)
    num_blocks, remainder = divmod(num_samples, block)
    context = context_of(data)
    common_prior = None if context else vae.latent_prior(params)

    def weigh_example(inputs: Any) -> WeightSummary:
        key, x, context = inputs
        posterior = vae.posterior(params, x, **context)
        prior = vae.latent_prior(params, **context) if common_prior is None else common_prior
        weigh = partial(log_importance_weights, vae, params, posterior, prior, **context)

        def step(stream: WeightStream, index: jax.Array) -> tuple[WeightStream, None]:
            return extend(stream, weigh(jax.random.fold_in(key, index), x, block), index * block), None

        dtype = jax.eval_shape(lambda: weigh(key, x, 1)).dtype
        stream, _ = jax.lax.scan(step, empty_stream(num_samples, block, dtype), jnp.arange(num_blocks))
        if remainder:
            log_weights = weigh(jax.random.fold_in(key, num_blocks), x, remainder)
            stream = extend(stream, log_weights, num_blocks * block)
        return summarize(stream, num_samples, block)

    examples_at_once = max(1, chunk_size // num_samples)
    summary = map_chunks(weigh_example, (keys, data["x"], context), examples_at_once)
    return summary._replace(weight=data.get("weight"))


def weigh_examples(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    context: dict[str, Any],
    *,
    num_samples: int,
    chunk_size: int,
    mesh: Mesh | None,
) -> WeightSummary:
    """Checks the data and computes the importance weights of each example; see `log_marginal`."""
    check_positive_integer(num_samples=num_samples, chunk_size=chunk_size)
    mesh = check_mesh(mesh)

    def program(params: VAEParams, key: jax.Array, data: Data, places: Any) -> WeightSummary:
        return _weigh(vae, params, key, data, num_samples, chunk_size, mesh, places)

    return map_data(program, vae, params, key, x, context, mesh)


def log_marginal_of(summary: WeightSummary, num_samples: int) -> LogMarginal:
    """The averages over examples beside the results of each example."""
    curve = dict(zip(curve_sizes(num_samples), weighted_mean(summary.curve, summary.weight), strict=True))
    average = estimate(summary.values, summary.weight)
    normalizer = summary.normalizer_error, summary.normalizer_bias
    return LogMarginal(summary.values, summary.effective_sample_size, summary.pareto_k, average, curve, *normalizer)


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
    expectation, whose gap closes as S grows. It is a log-density: larger is better.

    The sum is streamed, so that memory grows neither with S nor with N. Each x is encoded once, and a prior that reads
    no per-example context is computed once. With a conditional prior and labels, this is log p(x|y).

    The curve in S comes from the same samples. At sizes up to `chunk_size` it is the mean over disjoint groups of that
    many samples; at S = 1, for example, this is the ELBO over all of them. At larger sizes it uses the first S samples.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: examples [N, ...], or batches of them (see `vp.Stream`), which give the same values.
        num_samples: S, the number of samples for each example.
        chunk_size: samples of z that are decoded at a time on each device; increase it on an accelerator.
        mesh: devices among which the examples are divided, such as `vaepriors_jax.parallel.make_mesh()`. The values are
            the same as on one device. With several processes, `x` and its context are the share of this process; each
            process gets the values of all examples, in the order of processes.
        **context: per-example context [N, ...], such as `y=`; `weight=` weighs the examples in the averages.

    Returns:
        A `LogMarginal`, in nats.

    Raises:
        ValueError: data are not finite or outside the likelihood's support, or `num_samples` < 1.

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
    summary = weigh_examples(vae, params, key, x, context, num_samples=num_samples, chunk_size=chunk_size, mesh=mesh)
    return log_marginal_of(summary, num_samples)
