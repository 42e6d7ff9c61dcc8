"""A warning of entries of a batch that nothing reads, such as a misspelt name."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.checks import did_you_mean
from vaepriors_jax.conditioning import conditions_read
from vaepriors_jax.trees import entries_read, num_rows
from vaepriors_jax.vae import VAE, VAEParams, context_of


def declared_entries(vae: VAE) -> set[str]:
    """Names of the entries of an example that networks and prior say they read, and x and the weight."""
    read_by_prior = (read.name for read in conditions_read(vae.prior.config))
    return {"x", "weight", *vae.encoder_context, *vae.decoder_context, *read_by_prior}


def warn_of_unread(
    vae: VAE,
    params: VAEParams,
    data: Mapping[str, Any],
    transform: Callable[[dict[str, Any]], Any] | None = None,
) -> None:
    """Warns of entries of a batch {"x": [B, ...], ...}, or of its shapes, that nothing reads.

    Networks read what the VAE names. What a prior or a transform reads is found by tracing them.
    """
    if not data or (declared := declared_entries(vae)).issuperset(data):
        return

    def log_prior(context: dict[str, Any]) -> jax.Array:
        prior = vae.latent_prior(params, **context)
        return prior.log_prob(jnp.zeros(prior.event_shape))

    def read(batch: dict[str, Any]) -> Any:
        batch = batch if transform is None else dict(transform(batch))
        state = vae.next_prior_state(params, batch, jnp.array(True))
        named = {name: value for name, value in batch.items() if name in declared}
        return named, state, jax.vmap(log_prior, axis_size=num_rows(batch))(context_of(batch))

    try:
        found = entries_read(read, data)
    except Exception:  # what is wrong is said where it is computed; it is no reason to warn
        return
    if unread := [name for name in data if name not in declared | found]:
        it = "it" if len(unread) == 1 else "them"
        warnings.warn(
            f"Nothing reads {', '.join(map(repr, unread))}: no network (`encoder_context` and `decoder_context` of the "
            f"`vp.VAE` name what they read), no prior, no transform. Leave {it} out, or name {it} where the "
            f"model should read {it}.{did_you_mean(['weight'], unread)}",
            stacklevel=3,
        )
