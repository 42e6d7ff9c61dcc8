"""Numerical helpers of the densities."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_event

LOG_2PI = float(np.log(2.0 * np.pi))


def full_precision(array: Any) -> jax.Array:
    """Converts an array to float32, or leaves it in float64.

    Networks may compute in bfloat16, but a log-density is a sum over all pixels. Integers and booleans become floating
    point, since the difference of two uint8 wraps around.
    """
    if not isinstance(array, jax.Array):
        array = np.asarray(array)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        return jnp.asarray(array.astype(jnp.result_type(float)))
    return jnp.asarray(array.astype(jnp.float32) if jnp.finfo(array.dtype).bits < 32 else array)


def full_precision_as(value: Any, dtype: Any) -> jax.Array:
    """Converts a value to floating point: integers, booleans and half precision to `dtype`; others keep theirs."""
    if isinstance(value, (bool, int, float)):
        return jnp.asarray(value, dtype)
    if not isinstance(value, jax.Array):
        value = np.asarray(value)
    is_wide = jnp.issubdtype(value.dtype, jnp.floating) and jnp.finfo(value.dtype).bits >= 32
    return jnp.asarray(value if is_wide else value.astype(dtype))


def as_event(value: Any, event_shape: Sequence[int], dtype: Any) -> jax.Array:
    """A value [..., *event_shape] beside parameters of `dtype`; raises ValueError if it has another shape."""
    check_event(value, event_shape)
    return full_precision_as(value, dtype)


def on_support(inside: jax.Array, log_prob: jax.Array, value: jax.Array) -> jax.Array:
    """Log-densities of values inside the support, minus infinity of others, and NaN of NaN."""
    return jnp.where(inside, log_prob, jnp.where(jnp.isnan(value), jnp.nan, -jnp.inf))


def log_sum_exp_and_softmax(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log-sum-exp and softmax over the last axis; minus infinity and zeros where every value is minus infinity."""
    highest = jax.lax.stop_gradient(jnp.max(values, axis=-1, keepdims=True))
    highest = jnp.where(jnp.isneginf(highest), 0, highest)
    relative = jnp.exp(values - highest)
    total = jnp.sum(relative, axis=-1)
    is_nothing = total == 0
    total = jnp.where(is_nothing, 1, total)
    return jnp.where(is_nothing, -jnp.inf, jnp.log(total) + highest[..., 0]), relative / total[..., None]


def log_sum_exp(values: jax.Array) -> jax.Array:
    """Log-sum-exp over the last axis; its derivatives are 0, not NaN, where every value is minus infinity."""
    return log_sum_exp_and_softmax(values)[0]


def over_leading_axes(function: Callable[[jax.Array], Any], value: jax.Array, event_ndims: int = 1) -> Any:
    """Maps a function of one event over all leading axes."""
    for _ in range(value.ndim - event_ndims):
        function = jax.vmap(function)
    return function(value)
