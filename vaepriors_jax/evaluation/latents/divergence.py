"""The Jensen-Shannon divergence between encodings and prior, estimated by a classifier between their samples."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_key, check_positive_integer
from vaepriors_jax.evaluation.estimates import Estimate, estimate, share
from vaepriors_jax.evaluation.latents.latent_classifier import train_classifier
from vaepriors_jax.evaluation.latents.latent_samples import check_samples, hold_out


class ClassifierDivergence(NamedTuple):
    """Scores of a classifier that distinguishes encodings from samples of the prior.

    Attributes:
        jensen_shannon: lower bound on the Jensen-Shannon divergence, in nats: 0 for q = p, at most log 2 = 0.693.
        accuracy: accuracy of the classifier on the test samples: 0.5 for q = p, at most 1.
        num_train: number of training and validation samples, of q and p together.
        num_test: number of test samples, of q and p together.
    """

    jensen_shannon: Estimate
    accuracy: Estimate
    num_train: int
    num_test: int


def classifier_divergence(
    key: jax.Array,
    q_train: Any,
    p_train: Any,
    q_test: Any,
    p_test: Any,
    *,
    validation_fraction: float = 1 / 3,
    hidden: tuple[int, ...] = (64, 64),
    num_steps: int = 2000,
    batch_size: int = 512,
) -> ClassifierDivergence:
    r"""Jensen-Shannon divergence between q(z) and p(z), bounded from below by a classifier D of their samples.

    $\mathrm{JS}(q, p) \ge \log 2 + \tfrac12 E_q \log D(z) + \tfrac12 E_p \log(1 - D(z))$, with equality for the best
    classifier, $D = q / (q + p)$. D is trained on `q_train` and `p_train`, with early stopping on a part of them, and
    scored on `q_test` and `p_test`, so that the expectation of the estimate is never above the true divergence. The
    estimate can be slightly negative by chance. It is 0 with error 0 if D is not better than chance on the validation
    part by two standard errors.

    D reads z, its squares and products, and the distances from z to the nearest training samples of q and of p.

    **Encode images to which neither the VAE nor the prior was fitted**, one z for each image, and different images for
    `q_train` and `q_test`. A prior that memorises training encodings is then detected: its samples lie unusually close
    to each other, and far from the encodings of held-out images. With `q_train` from the training images it can go
    undetected. A prior that is concentrated on K encodings is fully detected only with at least K samples in `p_train`,
    which may be larger than `q_train`, since both classes have equal weights.

    The fewer the samples, the further the bound is below the divergence. In 40 dimensions a thousand encodings reveal
    only gross differences; with fewer than 10,000 a divergence near 0 does not mean that q and p are equal.

    Args:
        key: a random key.
        q_train: encodings [N, dim], one z for each example.
        p_train: samples of the prior [M, dim].
        q_test: encodings of other examples [N', dim].
        p_test: other samples of the prior [M', dim].
        validation_fraction: share of the training samples that is used for early stopping.
        hidden: widths of the classifier's layers.
        num_steps: maximum number of training steps.
        batch_size: samples in a step, half of each class.

    Returns:
        A `ClassifierDivergence`; the divergence in nats.

    Raises:
        ValueError: samples that are not finite, of unequal dimension, or fewer than 10 in a set.
        TypeError: a distribution instead of samples, or `key` is not a random key.

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> q, p, same = jax.random.normal(jax.random.key(0), (3, 2, 1000, 2))
        >>> equal = vp.classifier_divergence(jax.random.key(1), q[0], same[0], q[1], same[1])
        >>> abs(equal.jensen_shannon.mean) < 0.01
        Array(True, dtype=bool)
        >>> apart = vp.classifier_divergence(jax.random.key(1), q[0], p[0] + 9, q[1], p[1] + 9)
        >>> print(apart.jensen_shannon.mean.round(2), apart.accuracy.mean)
        0.69 1.0

    References:
        Goodfellow et al. (2014), Generative adversarial nets, theorem 1; Lopez-Paz & Oquab (2017), Revisiting
        classifier two-sample tests, section 3.
    """
    key = check_key(key)
    check_positive_integer(num_steps=num_steps, batch_size=batch_size)
    if not 0 < validation_fraction < 1:
        raise ValueError(f"Expected `validation_fraction` between 0 and 1; got {validation_fraction!r}.")
    q, p, q_test, p_test = check_samples(10, q_train=q_train, p_train=p_train, q_test=q_test, p_test=p_test)
    key_q, key_p, key_train = jax.random.split(key, 3)
    q, p = jax.random.permutation(key_q, q), jax.random.permutation(key_p, p)
    (q, q_valid), (p, p_valid) = (hold_out(samples, validation_fraction) for samples in (q, p))
    classifier = train_classifier(
        key_train, q, p, q_valid, p_valid, hidden=hidden, num_steps=num_steps, batch_size=batch_size, distances=True
    )
    logit_q, logit_p = classifier.logit(q_test), classifier.logit(p_test)
    num_train = len(q) + len(q_valid) + len(p) + len(p_valid)
    divergence = _mean(estimate(jax.nn.log_sigmoid(logit_q)), estimate(jax.nn.log_sigmoid(-logit_p)))
    divergence = divergence._replace(mean=jnp.log(2.0) + divergence.mean)
    return ClassifierDivergence(divergence, accuracy(logit_q, logit_p), num_train, len(q_test) + len(p_test))


def _mean(first: Estimate, second: Estimate) -> Estimate:
    """The mean of two independent estimates."""
    return Estimate(0.5 * (first.mean + second.mean), 0.5 * jnp.hypot(first.standard_error, second.standard_error))


def accuracy(logit_q: jax.Array, logit_p: jax.Array) -> Estimate:
    """Accuracy of a classifier of two classes with equal weights; a logit of 0 counts as half right."""
    return _mean(*(share(0.5 * (1 + jnp.sign(logit))) for logit in (logit_q, -logit_p)))
