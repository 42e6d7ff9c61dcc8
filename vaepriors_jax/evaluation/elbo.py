"""The ELBO of each example of a data set, at beta = 1."""

from functools import partial
from typing import Any

import jax
from jax.sharding import Mesh

from vaepriors_jax.base import VAE, VAEParams, context_of
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.objectives import ELBO, elbo
from vaepriors_jax.sharding import Data, check_mesh, load, map_examples, replicate, to_one_device


def map_elbo(
    vae: VAE, params: VAEParams, key: jax.Array, data: Data, chunk_size: int, mesh: Mesh | None = None
) -> ELBO:
    """The ELBO at beta = 1 of each example [N], in chunks on each device; not compiled, not checked."""

    def of_device(keys: jax.Array, data: dict[str, jax.Array], params: VAEParams) -> ELBO:
        context = context_of(data)

        def one(inputs: Any) -> ELBO:
            key, x, context = inputs
            return elbo(vae, params, key, x, **context)

        return jax.lax.map(one, (keys, data["x"], context), batch_size=chunk_size)

    return map_examples(mesh, of_device, key, data, params)


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
        x: examples [N, ...].
        chunk_size: examples at a time, on each device.
        mesh: see `log_marginal`.
        **context: per-example context [N, ...], such as `y=`.

    Returns:
        An `ELBO` of arrays [N].
    """
    check_positive_integer(chunk_size=chunk_size)
    mesh = check_mesh(mesh)
    data = load(mesh, {"x": x, **context}, partial(check_data, vae, params, key=key))
    return to_one_device(mesh, _map_elbo(vae, *replicate(mesh, (params, key)), data, chunk_size, mesh))
