"""A better prior afterwards: any prior fitted to the aggregated posterior of a trained VAE."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data
from vaepriors_jax.priors.init_from_data import init_from_data, required_data
from vaepriors_jax.vae import VAE, VAEParams


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
        x = example.pop("x")
        z = vae.posterior(params, x, **example).sample(seed=key)
        return -fitted.latent_prior(params._replace(prior=prior_params), **example).log_prob(jax.lax.stop_gradient(z))

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        prior_params, state = carry
        key_rows, key_z = jax.random.split(key)
        rows = jax.random.randint(key_rows, (batch_size,), 0, data["x"].shape[0])
        batch = jax.tree.map(lambda array: array[rows], data)
        keys = jax.random.split(key_z, batch_size)
        mean_loss = lambda p: jnp.mean(jax.vmap(negative_log_prob, (None, 0, 0))(p, keys, batch))  # noqa: E731
        loss, gradient = jax.value_and_grad(mean_loss)(prior_params)
        updates, state = optimizer.update(gradient, state, prior_params)
        return (optax.apply_updates(prior_params, updates), state), loss

    keys = jax.random.split(key, num_steps)
    (fitted_params, _), losses = jax.lax.scan(step, (start, optimizer.init(start)), keys)
    return fitted_params, losses


def fit_prior(
    prior: Prior,
    key: jax.Array,
    vae: VAE,
    params: VAEParams,
    x: Any,
    *,
    num_steps: int = 2000,
    batch_size: int = 256,
    learning_rate: float = 3e-3,
    **context: Any,
) -> VAEParams:
    r"""Fits a prior to the aggregated posterior of a trained VAE, $\max_p E_{q(z)}[\log p(z)]$, networks frozen.

    The prior starts from data if it can (see `init_from_data`): a mixture from k-means on encodings, a VampPrior from
    examples. The reconstruction stays what it is: such a prior can close holes and lower the KL, and gains less in
    log p(x) than one that is trained with the VAE.

    Args:
        prior: any prior of the latent dimension.
        key: a random key.
        vae: the trained VAE; its own prior is not read.
        params: its parameters.
        x: the data set [N, ...].
        num_steps: steps of Adam; z is drawn anew at each.
        batch_size: examples a step.
        learning_rate: of Adam, decayed to 0 by a cosine.
        **context: per-example context [N, ...] that encoder and prior read.

    Returns:
        The parameters with those of `prior` in their place: use them with `vae._replace(prior=prior)`.

    Raises:
        ValueError: data that are not finite, or no finite likelihood was reached.

    References:
        Ghosh et al. (2020), From variational to deterministic autoencoders, section 4 (ex-post density estimation).
    """
    check_positive_integer(num_steps=num_steps, batch_size=batch_size)
    data = check_data(vae._replace(prior=prior), params._replace(prior=prior.init(key)), {"x": x, **context}, key)
    key_start, key_steps = jax.random.split(key)
    start = _start(prior, key_start, vae, params, data)
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
    def one(inputs: tuple[jax.Array, dict[str, jax.Array]]) -> jax.Array:
        key, example = inputs
        x = example.pop("x")
        return vae.posterior(params, x, **example).sample(seed=key)

    return jax.lax.map(one, (jax.random.split(key, data["x"].shape[0]), data), batch_size=1000)


def _start(prior: Prior, key: jax.Array, vae: VAE, params: VAEParams, data: dict[str, jax.Array]) -> Any:
    """Starts a prior from data if it can, and else as `init` does; z is sampled only for a start that needs it."""
    key_z, key_init = jax.random.split(key)
    if prior.init_from_data is None:
        return prior.init(key_init)
    z = _sample_latents(vae, params, key_z, data) if "z" in required_data(prior) else None
    return init_from_data(prior, key_init, z=z, **data)
