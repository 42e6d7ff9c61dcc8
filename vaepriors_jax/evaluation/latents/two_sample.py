"""Are two sets of latents of one distribution? A classifier between them, and the maximum mean discrepancy."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jax.scipy.stats import norm

from vaepriors_jax.checks import check_choice, check_positive_integer
from vaepriors_jax.evaluation.latents.divergence import accuracy, hold_out
from vaepriors_jax.evaluation.latents.latent_classifier import check_samples, train_classifier


class DensityRatio(NamedTuple):
    """An estimate of log r(z) = log q(z) / p(z).

    Attributes:
        log_ratio: function of z [..., dim], in nats.
        accuracy: of the classifier behind it, on the half of the samples that it was not trained on.
        effective_sample_size: of that half of p's samples, weighted by r; near its number where p has no holes.
        num_test: number of samples in that half, of each; of examples, where these have several samples.
    """

    log_ratio: Callable[[jax.Array], jax.Array]
    accuracy: jax.Array
    effective_sample_size: jax.Array
    num_test: int


def density_ratio(
    key: jax.Array,
    numerator: Any,
    denominator: Any,
    *,
    hidden: tuple[int, ...] = (64, 64),
    num_steps: int = 1000,
    batch_size: int = 256,
) -> DensityRatio:
    r"""Estimates log q(z) / p(z) from samples, by a classifier D between them: $r = D / (1 - D)$.

    A third of the samples trains D, a sixth stops the training early, and half tests it. Where D is not better than
    chance by two standard errors on the sixth, the ratio is 1 everywhere.

    Several z of one example belong to the same part, or D knows its test samples by their neighbours in training, and
    its accuracy is above 1/2 for q = p. So give them as [N, S, dim].

    Args:
        key: a random key.
        numerator: samples of q, [N, dim], or [N, S, dim] for S samples of each of N examples.
        denominator: samples of p, in the same form or the other; the larger N is cut to the smaller.
        hidden: widths of the classifier's layers.
        num_steps: the most steps of its training.
        batch_size: samples a step.

    Returns:
        A `DensityRatio`.

    Raises:
        ValueError: samples of unequal dimension, too few, or not finite.

    References:
        Sugiyama, Suzuki & Kanamori (2012), Density ratio estimation, section 4; for VAEs: Aneja et al. (2021), NCP-VAE,
        eq. 5.
    """
    check_positive_integer(num_steps=num_steps, batch_size=batch_size)
    q, p = check_samples(by_example=True, numerator=numerator, denominator=denominator)
    half = min(len(q), len(p)) // 2
    key_q, key_p, key_train = jax.random.split(key, 3)
    q, p = jax.random.permutation(key_q, q)[: 2 * half], jax.random.permutation(key_p, p)[: 2 * half]
    parts = [part for samples in (q, p) for part in hold_out(samples[:half], 1 / 3)]
    q_train, q_valid, p_train, p_valid = (part.reshape(-1, part.shape[-1]) for part in parts)
    options = {"hidden": hidden, "num_steps": num_steps, "batch_size": batch_size}
    log_ratio = train_classifier(key_train, q_train, p_train, q_valid, p_valid, **options, distances=False).logit
    logits_q, logits_p = log_ratio(q[half:]), log_ratio(p[half:])
    weights = jax.nn.softmax(logits_p.reshape(-1))
    return DensityRatio(log_ratio, accuracy(logits_q, logits_p).mean, 1 / jnp.sum(weights**2), half)


class TwoSampleTest(NamedTuple):
    """A test of whether two sets of samples are of one distribution.

    Attributes:
        statistic: the accuracy of the classifier, or MMD^2.
        null_standard_error: its standard deviation if the distributions are equal.
        p_value: probability of so large a value, or a larger one, if they are equal.
    """

    statistic: jax.Array
    null_standard_error: jax.Array
    p_value: jax.Array


def two_sample_test(key: jax.Array, first: Any, second: Any, **options: Any) -> TwoSampleTest:
    r"""Classifier two-sample test: held-out accuracy, 0.5 with variance $1 / 4n$ for equal distributions.

    Args:
        key: a random key.
        first: samples [N, dim], or [N, S, dim] for S samples of each of N examples.
        second: samples, in the same form or the other.
        **options: those of `density_ratio`.

    Returns:
        A `TwoSampleTest`, with the one-sided p-value of the normal approximation.

    References:
        Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests, theorem 1.
    """
    ratio = density_ratio(key, first, second, **options)
    error = jnp.sqrt(0.25 / (2 * ratio.num_test))
    return TwoSampleTest(ratio.accuracy, error, norm.sf((ratio.accuracy - 0.5) / error))


def maximum_mean_discrepancy(
    key: jax.Array,
    first: Any,
    second: Any,
    *,
    kernel: str = "rbf",
    num_permutations: int = 500,
    max_samples: int = 2000,
) -> TwoSampleTest:
    r"""Unbiased $MMD^2$ with a permutation p-value.

    Args:
        key: a random key.
        first: samples [N, dim].
        second: samples [M, dim].
        kernel: "rbf", $\exp(-d^2 / 2 m^2)$ at the median distance m, or "imq", $C / (C + d^2)$ with
            $C = 2\,dim\,\sigma^2$ and $\sigma^2$ the mean variance of the pooled samples.
        num_permutations: permutations of the pooled samples.
        max_samples: the samples of each set that are used, drawn at random.

    Returns:
        A `TwoSampleTest`; the p-value counts the statistic itself among the permutations.

    References:
        Gretton et al. (2012), A kernel two-sample test, eq. 3; the IMQ kernel: Tolstikhin et al. (2018), section 4.
    """
    check_choice("kernel", kernel, ("rbf", "imq"))
    check_positive_integer(num_permutations=num_permutations, max_samples=max_samples)
    first, second = check_samples(first=first, second=second)
    num = min(len(first), len(second), max_samples)
    return _mmd(key, first, second, kernel, num_permutations, num)


@partial(jax.jit, static_argnums=(3, 4, 5))
def _mmd(
    key: jax.Array, first: jax.Array, second: jax.Array, kernel: str, num_permutations: int, num: int
) -> TwoSampleTest:
    key_first, key_second, key_permute = jax.random.split(key, 3)
    pooled = jnp.concatenate(
        [jax.random.permutation(key_first, first)[:num], jax.random.permutation(key_second, second)[:num]]
    )
    centred = pooled - jnp.mean(pooled, axis=0)
    squares = jnp.sum(centred**2, axis=1)
    cross = jnp.matmul(centred, centred.T, precision=Precision.HIGHEST)
    distance = jnp.maximum(squares[:, None] + squares - 2 * cross, 0)
    different = distance > 0
    if kernel == "rbf":
        # Of ties, the median distance can be 0, and the kernel then 0 / 0: the median of the others serves as well.
        median = jnp.median(distance)
        others = jnp.nanmedian(jnp.where(different, distance, jnp.nan))
        gram = jnp.exp(-distance / (2 * jnp.where(median > 0, median, jnp.where(jnp.any(different), others, 1.0))))
    else:
        constant = 2 * pooled.shape[1] * jnp.mean(jnp.var(pooled, axis=0))
        gram = jnp.where(different, constant / (constant + jnp.where(different, distance, 1.0)), 1.0)
    gram = gram * (1 - jnp.eye(2 * num))  # the unbiased estimate leaves each sample's kernel with itself out

    def statistic(is_first: jax.Array) -> jax.Array:
        is_second = 1 - is_first
        product = jnp.matmul(gram, jnp.stack([is_first, is_second], 1), precision=Precision.HIGHEST)
        within = is_first @ product[:, 0] + is_second @ product[:, 1]
        return within / (num * (num - 1)) - 2 * (is_first @ product[:, 1]) / num**2

    is_first = (jnp.arange(2 * num) < num).astype(gram.dtype)
    observed = statistic(is_first)
    permuted = jax.lax.map(
        lambda key: statistic(jax.random.permutation(key, is_first)),
        jax.random.split(key_permute, num_permutations),
        batch_size=50,
    )
    # A statistic that is equal but for rounding counts as equal, and one that is not a number as no evidence.
    tolerance = 4 * jnp.finfo(gram.dtype).eps
    p_value = (1 + jnp.sum(~(permuted < observed - tolerance))) / (1 + num_permutations)
    return TwoSampleTest(observed, jnp.std(permuted), p_value)
