"""Checks of a stream: of its first batch all that arrays are checked for, of the others what is cheap."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from vaepriors_jax.data_checks import check_data, check_values, place_arrays, support_of
from vaepriors_jax.parallel.sharding import on_host
from vaepriors_jax.trees import named_arrays
from vaepriors_jax.vae import VAE, VAEParams


def check_batches(
    vae: VAE,
    params: VAEParams,
    first: Mapping[str, Any],
    key: jax.Array,
    *,
    transform: Callable[..., Any] | None = None,
) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
    """Checks the first batch of a stream as `check_data` does; returns the check of the others.

    It is cheap: the form of the batch, values that are not finite, labels, and the likelihood's support where no
    `transform` comes before it. It returns the batch in the data types that jax would give it.
    """
    expected = _form(first)
    arrays = check_data(vae, params, first, key, transform=transform, place=on_host, whole=False)
    if key.ndim:
        key, params = key[0], jax.tree.map(lambda leaf: leaf[0], params)
    support = support_of(vae, params, key, arrays, transform)

    def check(batch: Mapping[str, Any]) -> dict[str, np.ndarray]:
        form = _form(batch)
        if form != expected:
            raise ValueError(f"Expected batches like the first, {_forms(expected)}; got {_forms(form)}.")
        check_values(vae, batch)
        if support.observed is None:
            support.check_finite(batch)
        if transform is None:
            support.check_values(batch)
        return place_arrays(on_host, batch)

    return check


def _form(batch: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    return {name: (value.shape[1:], value.dtype) for name, value in named_arrays(batch)}


def _forms(forms: Mapping[str, tuple[tuple[int, ...], np.dtype]]) -> str:
    """The entries of a batch in words."""
    return ", ".join(f"'{name}' {dtype}{['B', *shape]}".replace("'B'", "B") for name, (shape, dtype) in forms.items())
