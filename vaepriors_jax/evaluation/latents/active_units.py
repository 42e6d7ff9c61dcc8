"""Which dimensions of z the encoder uses."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.distributions.posterior_mixture import moments
from vaepriors_jax.vae import VAE, VAEParams


@partial(jax.jit, static_argnums=(0, 3))
def _encode(vae: VAE, params: VAEParams, data: Any, chunk_size: int) -> jax.Array:
    def one(example: dict[str, jax.Array]) -> jax.Array:
        x = example.pop("x")
        return moments(vae.posterior(params, x, **example))[0]

    return jax.lax.map(one, data, batch_size=chunk_size)


def posterior_means(vae: VAE, params: VAEParams, x: Any, *, chunk_size: int = 500, **context: Any) -> jax.Array:
    """Means of q(z|x) of each example, in chunks.

    Args:
        vae: the VAE.
        params: its parameters.
        x: examples [N, ...].
        chunk_size: examples at a time.
        **context: per-example context [N, ...] that the encoder reads.

    Returns:
        Means [N, dim]; of 64 samples each, where the posterior does not tell its mean.
    """
    check_positive_integer(chunk_size=chunk_size)
    data = check_data(vae, params, {"x": x, **context}, jax.random.key(0))
    return _encode(vae, params, data, chunk_size)


def active_units(
    vae: VAE, params: VAEParams, x: Any, *, threshold: float = 0.01, chunk_size: int = 500, **context: Any
) -> jax.Array:
    r"""Which dimensions of z carry information: $\mathrm{Var}_x(E_{q(z|x)}[z_d]) >$ `threshold`.

    The rule is not scale-free: under a learned prior a dimension can be rescaled at will.

    Args:
        vae: the VAE.
        params: its parameters.
        x: examples [N, ...].
        threshold: least variance of an active unit.
        chunk_size: examples at a time.
        **context: per-example context [N, ...] that the encoder reads.

    Returns:
        Booleans [dim].

    Raises:
        ValueError: fewer than 2 examples, and as `log_marginal`.

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, section 5.
    """
    check_positive(threshold=threshold)
    means = posterior_means(vae, params, x, chunk_size=chunk_size, **context)
    if len(means) < 2:
        raise ValueError("Expected at least 2 examples, between which means can vary; got 1.")
    return jnp.var(means, axis=0) > threshold
