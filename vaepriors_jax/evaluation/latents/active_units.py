"""Active units: the dimensions of z whose posterior mean varies between examples."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.distributions.posterior_mixture import moments
from vaepriors_jax.evaluation.latents.aggregated_posterior import posterior_of
from vaepriors_jax.evaluation.per_example import map_data
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.objectives import weighted_mean
from vaepriors_jax.vae import VAE, VAEParams, without_prior


@partial(jax.jit, static_argnums=(0, 3))
def _means(vae: VAE, params: VAEParams, data: dict[str, jax.Array], chunk_size: int) -> jax.Array:
    return map_chunks(lambda example: moments(posterior_of(vae, params, example))[0], data, chunk_size)


def posterior_means(vae: VAE, params: VAEParams, x: Any, *, chunk_size: int = 500, **context: Any) -> jax.Array:
    """Mean of q(z|x) of each example.

    Args:
        vae: the VAE.
        params: its parameters.
        x: examples [N, ...], or batches of them (see `vp.Stream`).
        chunk_size: examples at a time.
        **context: per-example context [N, ...] that the encoder reads.

    Returns:
        Means [N, dim]; sample means over 64 draws where the posterior has no mean in closed form.
    """
    return _weighed_means(vae, params, x, context, chunk_size)[0]


def _weighed_means(
    vae: VAE, params: VAEParams, x: Any, context: dict[str, Any], chunk_size: int
) -> tuple[jax.Array, jax.Array | None]:
    """Mean of q(z|x) of each example [N, dim], and their weights [N] if they have some."""
    check_positive_integer(chunk_size=chunk_size)

    def program(params: VAEParams, key: jax.Array, data: Any, places: Any) -> tuple[jax.Array, jax.Array | None]:
        del key, places
        return _means(*without_prior(vae, params), data, chunk_size), data.get("weight")

    return map_data(program, vae, params, jax.random.key(0), x, context)


def active_units(
    vae: VAE, params: VAEParams, x: Any, *, threshold: float = 0.01, chunk_size: int = 500, **context: Any
) -> jax.Array:
    r"""Which dimensions of z are active: $\mathrm{Var}_x(E_{q(z|x)}[z_d]) >$ `threshold`.

    The rule depends on the scale of z, which a learned prior can change at will. `latent_dimensions` has measures that
    do not.

    Args:
        vae: the VAE.
        params: its parameters.
        x: examples [N, ...], or batches of them (see `vp.Stream`).
        threshold: variance above which a unit is active.
        chunk_size: examples at a time.
        **context: per-example context [N, ...] that the encoder reads; `weight=` weighs the examples.

    Returns:
        Booleans [dim].

    Raises:
        ValueError: there are fewer than 2 examples of positive weight, and as `log_marginal`.

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, section 5.
    """
    check_positive(threshold=threshold)
    means, weight = _weighed_means(vae, params, x, context, chunk_size)
    if len(means) < 2 or (weight is not None and jnp.sum(weight > 0) < 2):
        counted = "" if weight is None else " of positive weight"
        raise ValueError(f"Expected at least 2 examples{counted}, between which means can vary; got 1.")
    return weighted_mean((means - weighted_mean(means, weight)) ** 2, weight) > threshold
