"""Checks of sets of features [N, F], and the random choice of their rows."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from vaepriors_jax.checks import check_finite


def check_features(name: str, features: Any, least: int = 1, *, varying: bool = False) -> np.ndarray:
    """Returns features as an array [N, F], or raises ValueError.

    Args:
        name: their name in the error message.
        features: features [N, F].
        least: the least number of samples.
        varying: whether each feature has to vary between samples.
    """
    array = np.asarray(features)
    if array.ndim != 2 or 0 in array.shape[1:]:
        raise ValueError(
            f"Expected `{name}` to be features [N, F]; got shape {array.shape}. Flatten images, or pass them through a "
            "feature network."
        )
    if len(array) < least:
        raise ValueError(
            f"Expected at least {least} samples in `{name}` ({array.shape[1]} features); got {len(array)}. Take more."
        )
    check_finite(name, array)
    if varying and (constant := np.flatnonzero((array == array[0]).all(0))).size:
        listed = ", ".join(map(str, constant[:10])) + (", ..." if constant.size > 10 else "")
        raise ValueError(
            f"Expected features that vary in `{name}`; got zero variance in {constant.size} of {array.shape[1]}: "
            f"{listed}. Remove them, or use another feature network."
        )
    return array


def check_pair(real: Any, generated: Any, least: int | Callable[[int], int]) -> tuple[np.ndarray, np.ndarray]:
    """Checks both sets. Real features must vary; those of a collapsed generator may be constant, and get a score."""
    real = check_features("real", real, 2, varying=True)
    generated = check_features("generated", generated)
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            f"Expected the same features in `real` and `generated`; got {real.shape[1]} and {generated.shape[1]}. "
            "Pass both sets of images through the same feature network."
        )
    needed = least(real.shape[1]) if callable(least) else least
    return check_features("real", real, needed), check_features("generated", generated, needed)


def row_chooser(key: jax.Array) -> np.random.Generator:
    """A numpy generator seeded by the key: choosing rows on the host takes a fiftieth of the time."""
    return np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
