"""Tests of whether two sets of latents have one distribution: by a classifier, and by the MMD."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jax.scipy.stats import norm

from vaepriors_jax.checks import check_choice, check_key, check_positive_integer
from vaepriors_jax.evaluation.latents.density_ratio import density_ratio
from vaepriors_jax.evaluation.latents.latent_samples import check_samples
from vaepriors_jax.loops import map_chunks


class TwoSampleTest(NamedTuple):
    """A test of whether two sets of samples have one distribution.

    Attributes:
        statistic: the accuracy of the classifier, or MMD^2.
        null_standard_error: standard deviation of the statistic if the distributions are equal.
        p_value: probability of a statistic at least this large if they are equal.
    """

    statistic: jax.Array
    null_standard_error: jax.Array
    p_value: jax.Array


def two_sample_test(key: jax.Array, first: Any, second: Any, **options: Any) -> TwoSampleTest:
    r"""Classifier two-sample test. The held-out accuracy is 0.5, with variance $1 / 4n$, for equal distributions.

    Args:
        key: a random key.
        first: samples [N, dim], or [N, S, dim] for S samples of each of N examples.
        second: samples of either shape.
        **options: those of `density_ratio`.

    Returns:
        A `TwoSampleTest`, with the one-sided p-value of the normal approximation.

    References:
        Lopez-Paz & Oquab (2017), Revisiting classifier two-sample tests, theorem 1.
    """
    ratio = density_ratio(key, first, second, **options)
    error = jnp.sqrt(0.25 / (2 * ratio.num_test))
    return TwoSampleTest(ratio.accuracy.mean, error, norm.sf((ratio.accuracy.mean - 0.5) / error))


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
        num_permutations: number of permutations of the pooled samples.
        max_samples: maximum number of samples of each set; these are drawn at random.

    Returns:
        A `TwoSampleTest`; the p-value counts the observed statistic as one of the permutations.

    References:
        Gretton et al. (2012), A kernel two-sample test, eq. 3; the IMQ kernel: Tolstikhin et al. (2018), section 4.
    """
    key = check_key(key)
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
        # With ties the median distance can be 0, and the kernel 0 / 0: then the median of positive distances is used.
        median = jnp.median(distance)
        others = jnp.nanmedian(jnp.where(different, distance, jnp.nan))
        gram = jnp.exp(-distance / (2 * jnp.where(median > 0, median, jnp.where(jnp.any(different), others, 1.0))))
    else:
        constant = 2 * pooled.shape[1] * jnp.mean(jnp.var(pooled, axis=0))
        gram = jnp.where(different, constant / (constant + jnp.where(different, distance, 1.0)), 1.0)
    gram = gram * (1 - jnp.eye(2 * num))  # the unbiased estimate omits the kernel of a sample with itself

    def statistic(is_first: jax.Array) -> jax.Array:
        is_second = 1 - is_first
        product = jnp.matmul(gram, jnp.stack([is_first, is_second], 1), precision=Precision.HIGHEST)
        within = is_first @ product[:, 0] + is_second @ product[:, 1]
        return within / (num * (num - 1)) - 2 * (is_first @ product[:, 1]) / num**2

    is_first = (jnp.arange(2 * num) < num).astype(gram.dtype)
    observed = statistic(is_first)
    permuted = map_chunks(
        lambda key: statistic(jax.random.permutation(key, is_first)),
        jax.random.split(key_permute, num_permutations),
        50,
    )
    # A statistic that is equal up to rounding counts as equal, and NaN counts against a difference.
    tolerance = 4 * jnp.finfo(gram.dtype).eps
    p_value = (1 + jnp.sum(~(permuted < observed - tolerance))) / (1 + num_permutations)
    return TwoSampleTest(observed, jnp.std(permuted), p_value)
