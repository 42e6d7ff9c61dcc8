"""What distributions on the simplex share."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.distributions.numerics import as_event

SMALLEST = 1e-30  # of an entry; derivatives of the logarithms of smaller ones would overflow in float32


def log_proportions(value: Any, event_shape: Sequence[int], dtype: Any) -> jax.Array:
    """Logarithms of z [..., K] divided by its sum. Entries that have underflown stay finite."""
    value = as_event(value, event_shape, dtype)
    is_small = value < SMALLEST
    logs = jnp.where(is_small, math.log(SMALLEST), jnp.log(jnp.where(is_small, 1, value)))
    return logs - jnp.log(jnp.sum(jnp.where(is_small, SMALLEST, value), axis=-1, keepdims=True))
