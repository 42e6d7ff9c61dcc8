"""The ELBO of each example of a data set, for use in a compiled program."""

from typing import Any

import jax
from jax.sharding import Mesh

from vaepriors_jax.loops import map_chunks
from vaepriors_jax.objectives import ELBO, elbo_of
from vaepriors_jax.parallel.sharding import Data, map_examples
from vaepriors_jax.vae import VAE, VAEParams, context_of


def map_elbo(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: Data,
    chunk_size: int,
    mesh: Mesh | None = None,
    places: jax.Array | None = None,
) -> ELBO:
    """The ELBO at beta = 1 of each example [N], computed in chunks on each device. The caller compiles and checks.

    A batch of a stream comes with the `places` of its examples among all [B].
    """

    def of_device(keys: jax.Array, data: dict[str, jax.Array], params: VAEParams) -> ELBO:
        context = context_of(data)
        common_prior = None if context else vae.latent_prior(params)

        def evaluate(inputs: Any) -> ELBO:
            key, x, context = inputs
            posterior = vae.posterior(params, x, **context)
            prior = vae.latent_prior(params, **context) if common_prior is None else common_prior
            return elbo_of(posterior, prior, vae, params, key, x, **context)

        return map_chunks(evaluate, (keys, data["x"], context), chunk_size)

    return map_examples(mesh, of_device, key, data, params, places=places)
