"""Planes through the latent space: that of the principal components, and one on which q and p differ most."""

import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.mixture import Mixture

NUM_BINS = 40  # of the histograms by which directions are compared


def principal_axes(means: jax.Array) -> jax.Array:
    """The first two principal components [2, dim] of centred encodings [N, dim]."""
    return jnp.linalg.svd(means, full_matrices=False)[2][:2]


def difference_axes(q: jax.Array, p: jax.Array) -> jax.Array:
    """Two axes [2, dim] along which samples [M, dim] of q and p differ most.

    The candidates are the difference of the means, the directions in which the variances differ (eigenvectors of the
    covariance of q relative to that of p), and those in which q or p is least like a Gaussian.
    """
    whiten = _whitening(p)
    _, relative = jnp.linalg.eigh(jnp.cov(q @ whiten, rowvar=False))
    shift = whiten @ whiten.T @ (jnp.mean(q, axis=0) - jnp.mean(p, axis=0))
    candidates = [shift[None], (whiten @ relative).T, _fourth_order_directions(q), _fourth_order_directions(p)]
    directions = _unit(jnp.concatenate(candidates))

    def best(directions: jax.Array) -> jax.Array:
        is_new = jnp.linalg.norm(directions, axis=1) > 1e-3  # not along the first axis
        directions = _unit(directions)
        return directions[jnp.argmax(jnp.where(is_new, _divergences(directions, q, p), -1))]

    first = best(directions)
    second = best(directions - (directions @ first)[:, None] * first)
    return jnp.stack([first, _unit(second - (second @ first) * first)])


def halves(key: jax.Array, mixture: Mixture) -> tuple[Mixture, Mixture]:
    """Splits a mixture into two mixtures, each of a random half of the components."""
    num_components = mixture.num_components
    if num_components < 2:
        raise ValueError("Expected at least 2 components of `aggregated` for plane='difference'; got 1.")
    first = jax.random.permutation(key, num_components) < num_components // 2

    def part(chosen: jax.Array) -> Mixture:
        log_weights = jnp.where(chosen, mixture.log_weights, -jnp.inf)
        return mixture.with_log_weights(log_weights - jax.nn.logsumexp(log_weights))

    return part(first), part(~first)


def _whitening(samples: jax.Array) -> jax.Array:
    """The matrix W [dim, dim] for which samples @ W have unit covariance."""
    variances, vectors = jnp.linalg.eigh(jnp.cov(samples, rowvar=False))
    return vectors / jnp.sqrt(jnp.maximum(variances, 1e-6 * variances[-1]))


def _fourth_order_directions(samples: jax.Array) -> jax.Array:
    """Directions [dim, dim] from fourth moments, among them those in which samples [M, dim] are least Gaussian."""
    whiten = _whitening(samples)
    white = (samples - jnp.mean(samples, axis=0)) @ whiten
    weighted = jnp.sum(white**2, axis=1, keepdims=True) * white
    _, directions = jnp.linalg.eigh(weighted.T @ white / samples.shape[0])
    return (whiten @ directions).T


def _divergences(directions: jax.Array, q: jax.Array, p: jax.Array) -> jax.Array:
    """Jensen-Shannon divergence [C] in nats between samples of q and p along each direction [C, dim], by histograms."""

    def along(direction: jax.Array) -> jax.Array:
        along_q, along_p = q @ direction, p @ direction
        edges = jnp.quantile(jnp.concatenate([along_q, along_p]), jnp.linspace(0, 1, NUM_BINS + 1)[1:-1])

        def shares(values: jax.Array) -> jax.Array:
            return jnp.bincount(jnp.searchsorted(edges, values), length=NUM_BINS) / values.shape[0]

        share_q, share_p = shares(along_q), shares(along_p)
        middle = jnp.maximum(0.5 * (share_q + share_p), 1e-30)
        terms = jax.scipy.special.rel_entr(share_q, middle) + jax.scipy.special.rel_entr(share_p, middle)
        return 0.5 * jnp.sum(terms)

    return jax.lax.map(along, directions)


def _unit(directions: jax.Array) -> jax.Array:
    """Directions [..., dim] scaled to length 1; zeros stay zero."""
    return directions / jnp.maximum(jnp.linalg.norm(directions, axis=-1, keepdims=True), 1e-12)
