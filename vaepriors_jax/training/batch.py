"""The ELBO of each example of a training batch."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from vaepriors_jax.importance_bound import importance_bound
from vaepriors_jax.networks.variables import BATCH_AXIS, State, split
from vaepriors_jax.objective_options import Objective
from vaepriors_jax.objectives import (
    ELBO,
    charge_batch,
    check_weighed,
    elbo_of_example,
    kl_terms,
    score_example,
    terms_of,
    with_hyperprior,
)
from vaepriors_jax.parallel.sharding import over_devices, share_batch
from vaepriors_jax.training.transforms import Batch
from vaepriors_jax.trees import num_rows
from vaepriors_jax.vae import VAE, States, VAEParams, context_of, split_states


def batch_elbo(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    batch: Batch,
    objective: Objective,
    mesh: Mesh | None = None,
    multiplier: jax.Array | None = None,
) -> tuple[ELBO, States]:
    """The terms of the ELBO for each example of a batch, [B] each, and the new states of the networks.

    That of the prior stays. An objective with a constraint needs its multiplier.
    """
    keys = jax.random.split(key, num_rows(batch))
    states = split_states(params)[1]
    if states.encoder or states.decoder:
        terms, states = _elbo_in_training(vae, params, keys, batch, objective, mesh)
        return charge_batch(terms, objective, batch.get("weight"), multiplier), states

    def of_device(keys: jax.Array, batch: Batch, params: VAEParams, beta: Any) -> ELBO:
        def of_example(key: jax.Array, x: jax.Array, context: dict[str, jax.Array]) -> ELBO:
            return elbo_of_example(vae, params, key, x, replace(objective, beta=beta), **context)

        return jax.vmap(of_example)(keys, batch["x"], context_of(batch))

    terms = over_devices(mesh, of_device)(keys, batch, params, objective.beta)
    return charge_batch(terms, objective, batch.get("weight"), multiplier), states


def _elbo_in_training(
    vae: VAE, params: VAEParams, keys: jax.Array, batch: Batch, objective: Objective, mesh: Mesh | None
) -> tuple[ELBO, States]:
    """The ELBO with networks in training mode, whose statistics are over the whole batch on any mesh.

    The batch of the decoder is that of all samples of all examples. The prior reads the encoder in evaluation mode.
    """
    num_samples = objective.num_samples
    keys, batch = share_batch(mesh, (keys, dict(batch)))
    x, context = batch["x"], context_of(batch)

    def encode(key: jax.Array, x: jax.Array, context: dict[str, Any]) -> tuple[Any, State]:
        posterior, state = vae.train_posterior(params, jax.random.fold_in(key, 1), x, **context)
        prior = vae.latent_prior(params, **context)
        z = posterior.sample(seed=key, sample_shape=num_samples)
        return (z, kl_terms(posterior, prior, z, objective)), state

    def log_ratio(q_params: VAEParams, key: jax.Array, z: jax.Array, x: jax.Array, context: Any) -> Any:
        posterior, state = vae.train_posterior(q_params, jax.random.fold_in(key, 1), x, **context)
        prior = vae.latent_prior(params, **context)
        check_weighed(posterior, prior)
        return prior.log_prob(z) - posterior.log_prob(z), state

    def decode(key: jax.Array, z: jax.Array, x: jax.Array, context: dict[str, Any]) -> tuple[Any, State]:
        likelihood, state = vae.train_likelihood(params, key, z, **context)
        return score_example(likelihood, x, objective), state

    def of_each_sample(array: jax.Array) -> jax.Array:
        return jnp.repeat(array, num_samples, axis=0)

    def reconstruct(z: jax.Array) -> tuple[tuple[jax.Array, jax.Array | None], State]:
        """log p(x|z) at z [B, S, dim], and the error if the objective has a constraint: [B, S] each."""
        of_samples = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, 2), num_samples))(keys).reshape(-1)
        flat = z.reshape(-1, z.shape[-1])
        scores, state = _over_batch(decode, of_samples, flat, *jax.tree.map(of_each_sample, (x, context)))
        return jax.tree.map(lambda score: score.reshape(-1, num_samples), scores), state

    def weigh(z: jax.Array, q_has_gradient: bool) -> tuple[jax.Array, jax.Array]:
        q_params = params if q_has_gradient else jax.lax.stop_gradient(params)
        return reconstruct(z)[0][0], _over_batch(partial(log_ratio, q_params), keys, z, x, context)[0]

    (z, (kl, group_kl)), encoder_state = _over_batch(encode, keys, x, context)
    scores, decoder_state = reconstruct(z)
    nats, error = jax.tree.map(partial(jnp.mean, axis=1), scores)
    terms = terms_of(nats, error, kl, group_kl, objective)
    if objective.bound == "iwae":
        terms = terms._replace(objective=importance_bound(weigh, z, objective.beta, objective.gradient))
    terms = with_hyperprior(vae, params, terms)
    return terms, States(encoder_state, decoder_state, split(params.prior)[1])


def _over_batch(function: Any, *arrays: Any) -> tuple[Any, State]:
    """Maps over a batch a function that returns a result for each example, and one state for all of them."""
    try:
        return jax.vmap(function, axis_name=BATCH_AXIS, out_axes=(0, None))(*arrays)
    except ValueError as error:
        if "out_axes" in str(error):
            error.add_note(
                "The new state of a network has to be that of the whole batch. Average over the axis 'batch', as "
                '`BatchNorm(..., axis_name="batch")` does.'
            )
        raise
