"""The ELBO of each example of a data set."""

from typing import Any

import jax
from jax.sharding import Mesh

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.evaluation.per_example import map_data
from vaepriors_jax.objectives import ELBO
from vaepriors_jax.parallel.sharding import Data, check_mesh
from vaepriors_jax.training.validation import map_elbo
from vaepriors_jax.vae import VAE, VAEParams

_map_elbo = jax.jit(map_elbo, static_argnums=(0, 4, 5))


def evaluate_elbo(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    chunk_size: int = 500,
    mesh: Mesh | None = None,
    **context: Any,
) -> ELBO:
    """The ELBO, reconstruction and KL of each example, at beta = 1, in nats.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: examples [N, ...], or batches of them (see `vp.Stream`).
        chunk_size: examples at a time on each device.
        mesh: see `log_marginal`.
        **context: per-example context [N, ...], such as `y=`.

    Returns:
        An `ELBO` of arrays [N].
    """
    check_positive_integer(chunk_size=chunk_size)
    mesh = check_mesh(mesh)

    def program(params: VAEParams, key: jax.Array, data: Data, places: Any) -> ELBO:
        return _map_elbo(vae, params, key, data, chunk_size, mesh, places)

    return map_data(program, vae, params, key, x, context, mesh)
