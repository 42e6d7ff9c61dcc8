"""Data from a VAE: z from its own prior, then x from its decoder."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_labels, check_positive_integer
from vaepriors_jax.conditioning import conditions_read
from vaepriors_jax.unread import warn_of_unread
from vaepriors_jax.vae import VAE, VAEParams


def generate(
    vae: VAE, params: VAEParams, key: jax.Array, num_samples: int, *, mean: bool = True, **context: Any
) -> Any:
    """Generates data: z from the VAE's own prior, then p(x|z).

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        num_samples: number of examples.
        mean: return the means of p(x|z), which look smoother than data, instead of samples of it.
        **context: what prior and decoder read: one value for all samples, such as `y=3`, or one for each, such as
            `y=[0, 1, 2]` or `y=jnp.arange(num_samples)`. An array whose first axis has `num_samples` entries has one
            for each sample, unless prior or decoder cannot read it so. A value that nothing reads gives a warning.

    Returns:
        Examples [num_samples, ...]; a dict of them where p(x|z) is a `joint` likelihood.

    Raises:
        ValueError: labels outside the classes, or another number of values than 1 and `num_samples`.
    """
    check_positive_integer(num_samples=num_samples)
    context = {name: np.asarray(value) if isinstance(value, list) else value for name, value in context.items()}
    key_z, key_x = jax.random.split(key)
    per_sample = _per_sample(vae, params, key, num_samples, context)
    shared = {name: value for name, value in context.items() if name not in per_sample}
    one = jax.tree.map(lambda value: jnp.asarray(value)[None], shared)
    warn_of_unread(vae, params, one | jax.tree.map(lambda array: array[:1], per_sample))

    def draw_z(key: jax.Array, own: dict[str, Any]) -> jax.Array:
        return vae.latent_prior(params, **shared, **own).sample(seed=key)

    def draw_x(z: jax.Array, key: jax.Array, own: dict[str, Any]) -> jax.Array:
        likelihood = vae.likelihood(params, z, **shared, **own)
        return likelihood.mean() if mean else likelihood.sample(seed=key)

    if per_sample:
        z = jax.vmap(draw_z)(jax.random.split(key_z, num_samples), per_sample)
    else:
        z = vae.latent_prior(params, **context).sample(seed=key_z, sample_shape=num_samples)
    return jax.vmap(draw_x)(z, jax.random.split(key_x, num_samples), per_sample)


def _per_sample(
    vae: VAE, params: VAEParams, key: jax.Array, num_samples: int, context: Mapping[str, Any]
) -> dict[str, jax.Array]:
    """The part of the context that has a value for each sample."""
    if not context:
        return {}
    known = {read.name: read for read in conditions_read(vae.prior.config)}
    for name, value in context.items():
        if name not in known:
            continue
        _, num_classes, one, missing = known[name]
        if num_classes is not None:
            check_labels(value, num_classes, name, missing)
        if np.shape(value) not in (one, (num_samples, *one)):
            raise ValueError(_values_expected(num_samples, {name: value}, one))
    leading = {
        name: jax.tree.map(jnp.asarray, value)
        for name, value in context.items()
        if all(np.shape(leaf)[:1] == (num_samples,) for leaf in jax.tree.leaves(value))
        and not (name in known and np.shape(value) == known[name].shape)
    }

    def trace(own: dict[str, Any]) -> jax.Array:
        shared = {name: value for name, value in context.items() if name not in own}
        z = vae.latent_prior(params, **shared, **own).sample(seed=key)
        return vae.likelihood(params, z, **shared, **own).mean()

    errors = []
    for own in [leading, {}] if leading else [{}]:
        try:
            jax.eval_shape(trace, jax.tree.map(lambda leaf: leaf[0], own))
        except NotImplementedError:  # a likelihood without a mean
            return own
        except Exception as error:
            errors.append(error)
        else:
            return own
    errors[0].add_note(_values_expected(num_samples, context))
    raise errors[0]


def _values_expected(num_samples: int, context: Mapping[str, Any], shape: tuple[int, ...] | None = None) -> str:
    shapes = ", ".join(f"`{name}` of shape {list(np.shape(value))}" for name, value in context.items())
    of_one = "" if shape is None else f", {list(shape)}"
    of_all = "[num_samples, ...]" if shape is None else str([num_samples, *shape])
    return (
        f"Expected one value for all samples{of_one}, or one for each of num_samples={num_samples}, {of_all}; got "
        f"{shapes}."
    )
