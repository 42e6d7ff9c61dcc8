"""Cooldown: training ends at a tenth of the learning rate, which gains some tenths of a nat."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments.training.grid import best_elbo

FACTOR = 0.1


def join(first: vp.FitResult, second: vp.FitResult) -> vp.FitResult:
    """Joins a run and its cooldown: for each replica, the parameters with the better validation ELBO."""
    improved = best_elbo(second) > best_elbo(first)

    def better(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(improved.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    epochs_before = first.history["validation_elbo"].shape[1]
    seconds = first.seconds_per_epoch
    return first._replace(
        params=jax.tree.map(better, second.params, first.params),
        state=second.state,
        best_epoch=np.where(improved, epochs_before + np.asarray(second.best_epoch), first.best_epoch),
        history={name: np.concatenate([first.history[name], second.history[name]], axis=1) for name in first.history},
        # A run that was finished before has timed no epoch.
        seconds_per_epoch=seconds if np.isfinite(seconds) else second.seconds_per_epoch,
    )


def cool(first: vp.FitResult, vae: vp.VAE, keys: jax.Array, learning_rates: jax.Array, **options: Any) -> vp.FitResult:
    """Starts from the best parameters, which a failure leaves as they were; `options` are those of `vp.fit`."""
    keys = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
    start = vp.start_from(first)
    try:
        second = vp.fit(vae, start, keys, hyperparameters={"learning_rate": FACTOR * learning_rates}, **options)
    except vp.TrainingFailedError as error:
        second = error.result
    return join(first, second)
