"""The ratio q(z) / p(z) of two densities, estimated from samples by a classifier."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_key, check_positive_integer
from vaepriors_jax.evaluation.estimates import Estimate
from vaepriors_jax.evaluation.latents.divergence import accuracy
from vaepriors_jax.evaluation.latents.latent_classifier import train_classifier
from vaepriors_jax.evaluation.latents.latent_samples import check_samples, hold_out


class DensityRatio(NamedTuple):
    """An estimate of log r(z) = log q(z) / p(z).

    Attributes:
        log_ratio: function of z [..., dim], in nats.
        accuracy: accuracy of the classifier on the test half of the samples.
        effective_sample_size: effective number of p's test samples when they are weighted by r; near their number where
            p has no holes.
        num_test: number of test samples of q, and of p; number of examples if these have several samples each.
    """

    log_ratio: Callable[[jax.Array], jax.Array]
    accuracy: Estimate
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

    A third of the samples trains D, a sixth serves for early stopping, and half for testing. If D is not better than
    chance by two standard errors on the sixth, the ratio is 1 everywhere.

    Pass several z of one example as [N, S, dim], which keeps them in the same part. Otherwise D recognises test samples
    by their neighbours among the training samples, and its accuracy is above 1/2 even for q = p.

    Args:
        key: a random key.
        numerator: samples of q, [N, dim], or [N, S, dim] for S samples of each of N examples.
        denominator: samples of p, of either shape; the larger N is cut to the smaller.
        hidden: widths of the classifier's layers.
        num_steps: maximum number of training steps.
        batch_size: samples in a step.

    Returns:
        A `DensityRatio`.

    Raises:
        ValueError: samples of unequal dimension, too few, or not finite.
        TypeError: a distribution instead of samples, or `key` is not a random key.

    References:
        Sugiyama, Suzuki & Kanamori (2012), Density ratio estimation, section 4; for VAEs: Aneja et al. (2021), NCP-VAE,
        eq. 5.
    """
    key = check_key(key)
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
    return DensityRatio(log_ratio, accuracy(logits_q, logits_p), 1 / jnp.sum(weights**2), half)
