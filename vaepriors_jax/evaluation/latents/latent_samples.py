"""Checks of distributions and of samples z [N, dim], and their splits."""

from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_finite
from vaepriors_jax.distributions.numerics import full_precision_as


def check_distributions(**distributions: Any) -> None:
    """Raises TypeError for the first argument that is not a distribution."""
    for name, value in distributions.items():
        if not hasattr(value, "log_prob"):
            advice = " Pass `prior.apply(params)` of it." if isinstance(value, Prior) else ""
            raise TypeError(f"Expected `{name}` to be a distribution over z; got {type(value).__name__}.{advice}")


def check_samples(least: int = 4, *, by_example: bool = False, **samples: Any) -> list[jax.Array]:
    """Returns samples as arrays [N, dim], or [N, S, dim] if `by_example`; they must be finite and of one dimension."""
    for name, value in samples.items():
        if hasattr(value, "log_prob"):
            raise TypeError(f"Expected samples [N, dim] as `{name}`; got a distribution. Draw from it with `sample`.")
    arrays = {name: full_precision_as(value, jnp.result_type(float)) for name, value in samples.items()}
    shapes = "[N, dim] or [N, S, dim]" if by_example else "[N, dim]"
    for name, array in arrays.items():
        if array.ndim not in ((2, 3) if by_example else (2,)) or array.shape[0] < least or 0 in array.shape:
            raise ValueError(f"Expected `{name}` of shape {shapes} with N >= {least}; got {array.shape}.")
        check_finite(name, array)
    if len({array.shape[-1] for array in arrays.values()}) > 1:
        raise ValueError(f"Expected samples of one dimension; got {[a.shape for a in arrays.values()]}.")
    return list(arrays.values())


def hold_out(samples: jax.Array, fraction: float) -> tuple[jax.Array, jax.Array]:
    """Splits off the last `fraction` of the samples; each part has at least one."""
    num_kept = min(max(1, round((1 - fraction) * len(samples))), len(samples) - 1)
    return samples[:num_kept], samples[num_kept:]
