"""Fits a prior to the encodings of a VAE that is trained already."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data, check_model
from vaepriors_jax.evaluation.latents.aggregated_posterior import posterior_of
from vaepriors_jax.factories import check_is
from vaepriors_jax.priors.init_from_data import init_from_data, required_data
from vaepriors_jax.vae import VAE, VAEParams, context_of


@partial(jax.jit, static_argnums=(0, 1, 7, 8))
def _fit(
    vae: VAE,
    prior: Prior,
    params: VAEParams,
    start: Any,
    key: jax.Array,
    data: dict[str, jax.Array],
    learning_rate: jax.Array,
    num_steps: int,
    batch_size: int,
) -> tuple[Any, jax.Array]:
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    fitted = vae._replace(prior=prior)

    def negative_log_prob(prior_params: Any, key: jax.Array, example: dict[str, jax.Array]) -> jax.Array:
        z = jax.lax.stop_gradient(posterior_of(vae, params, example).sample(seed=key))
        return -fitted.latent_prior(params._replace(prior=prior_params), **context_of(example)).log_prob(z)

    def mean_loss(prior_params: Any, keys: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
        return jnp.mean(jax.vmap(negative_log_prob, (None, 0, 0))(prior_params, keys, batch))

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        prior_params, state = carry
        key_rows, key_z = jax.random.split(key)
        rows = jax.random.randint(key_rows, (batch_size,), 0, data["x"].shape[0])
        batch = jax.tree.map(lambda array: array[rows], data)
        keys = jax.random.split(key_z, batch_size)
        loss, gradient = jax.value_and_grad(mean_loss)(prior_params, keys, batch)
        updates, state = optimizer.update(gradient, state, prior_params)
        return (optax.apply_updates(prior_params, updates), state), loss

    keys = jax.random.split(key, num_steps)
    (fitted_params, _), losses = jax.lax.scan(step, (start, optimizer.init(start)), keys)
    return fitted_params, losses


def fit_prior(
    prior: Prior,
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    num_steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    **context: Any,
) -> VAEParams:
    r"""Fits a prior to the aggregated posterior of a trained VAE: $\max_p E_{q(z)}[\log p(z)]$.

    Encoder and decoder keep their parameters. The prior starts from data if it can (see `init_from_data`): a mixture
    from k-means on encodings, a VampPrior from examples. Such a prior can close holes and lower the KL. The
    reconstruction does not change, so log p(x) gains less than from a prior that is trained with the VAE.

    Args:
        prior: any prior of the latent dimension.
        vae: the trained VAE; its own prior is not read.
        params: the parameters of the VAE.
        key: a random key.
        x: the data set [N, ...].
        num_steps: number of steps of Adam. Each draws a batch of examples and a z for each example.
        batch_size: number of examples in a batch.
        learning_rate: of Adam, decayed to 0 by a cosine.
        **context: per-example context [N, ...] that encoder and prior read.

    Returns:
        The parameters with those of `prior` in their place: use them with `vae._replace(prior=prior)`.

    Raises:
        TypeError: the arguments are in another order.
        ValueError: the data or a log-density are not finite.

    References:
        Ghosh et al. (2020), From variational to deterministic autoencoders, section 4 (ex-post density estimation).
    """
    if isinstance(vae, VAE):
        check_is(Prior, prior, ", as `prior`")
    if not isinstance(prior, Prior) or not isinstance(vae, VAE):
        raise TypeError(
            f"Expected a `vp.Prior` and a `vp.VAE` as the first arguments; got {type(prior).__name__} and "
            f"{type(vae).__name__}. The order is prior, vae, params, key, x."
        )
    params, key = check_model(vae, params, key)
    check_positive_integer(num_steps=num_steps, batch_size=batch_size)
    data = check_data(vae._replace(prior=prior), params._replace(prior=prior.init(key)), {"x": x, **context}, key)
    key_start, key_steps = jax.random.split(key)
    start = _start(prior, vae, params, key_start, data)
    rate = jnp.asarray(learning_rate)
    fitted, losses = _fit(vae, prior, params, start, key_steps, data, rate, num_steps, batch_size)
    if not bool(jnp.isfinite(losses).all()):
        step = int(jnp.argmax(~jnp.isfinite(losses)))
        raise ValueError(
            f"Expected finite log-densities while fitting {prior!r}; step {step} gave none. Lower `learning_rate`."
        )
    return params._replace(prior=fitted)


@partial(jax.jit, static_argnums=0)
def _sample_latents(vae: VAE, params: VAEParams, key: jax.Array, data: dict[str, jax.Array]) -> jax.Array:
    def draw(inputs: tuple[jax.Array, dict[str, jax.Array]]) -> jax.Array:
        key, example = inputs
        return posterior_of(vae, params, example).sample(seed=key)

    return jax.lax.map(draw, (jax.random.split(key, data["x"].shape[0]), data), batch_size=1000)


def _start(prior: Prior, vae: VAE, params: VAEParams, key: jax.Array, data: dict[str, jax.Array]) -> Any:
    """Starts a prior from data if it can, and else by `init`; samples z only for a start that needs it."""
    key_z, key_init = jax.random.split(key)
    if prior.init_from_data is None:
        return prior.init(key_init)
    z = _sample_latents(vae, params, key_z, data) if "z" in required_data(prior) else None
    return init_from_data(prior, key_init, z=z, **data)
