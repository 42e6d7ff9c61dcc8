"""What the location-scale priors share: parameters that are fixed or learned, and their start from quantiles."""

from collections.abc import Callable, Mapping
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.priors.init_from_data import as_params, rows_of_shape

Quantile = Callable[[np.ndarray, float], np.ndarray]


def location_scale_prior(
    start: Mapping[str, np.ndarray],
    learned: tuple[str, ...],
    make: Callable[..., distrax.Distribution],
    fit: Callable[[np.ndarray], Mapping[str, np.ndarray]],
) -> Prior:
    """Makes a prior whose entries are parameters where they are learned, and constants elsewhere.

    Args:
        start: the value of each entry; all but `loc` [dim] are logarithms, whose names begin with `log_`.
        learned: names of the entries that are learned, without `log_`.
        make: makes the distribution of the entries.
        fit: estimates the entries from encodings [N, dim].
    """
    entries = {entry.removeprefix("log_"): entry for entry in start}
    if not isinstance(learned, (tuple, list)) or len(set(learned)) != len(learned) or set(learned) - set(entries):
        raise ValueError(f"Expected `learned` to hold each of {', '.join(entries)} at most once; got {learned!r}.")
    names = [entries[name] for name in learned]

    def init(key: jax.Array) -> Any:
        del key
        return as_params({name: start[name] for name in names})

    def apply(params: Any, **context: Any) -> distrax.Distribution:
        del context
        fixed = as_params({name: value for name, value in start.items() if name not in names})
        values = {**fixed, **{name: params[name] for name in names}}
        return make(**{name.removeprefix("log_"): jnp.exp(v) if name != "loc" else v for name, v in values.items()})

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del key, data
        found = fit(rows_of_shape("z", z, start["loc"].shape).astype(np.float64))
        return as_params({name: np.asarray(found[name]) for name in names})

    return Prior(init, apply, {}, init_from_data if names else None)


def fit_quantiles(z: np.ndarray, quantile: Quantile, shapes: np.ndarray) -> dict[str, np.ndarray]:
    """Location, scale and shape of each dimension whose median and quantiles of |z - median| are those of the data.

    Args:
        z: encodings [N, dim].
        quantile: quantile of the standard distribution, of its shape and a probability; symmetric about 0.
        shapes: increasing shapes to choose from, along which tails become light; one if it is known, or [1, dim].
    """
    loc = np.median(z, axis=0)
    middle, outer = np.quantile(np.abs(z - loc), [0.5, 0.95], axis=0) + 1e-6
    shape = shapes[0] * np.ones(z.shape[1])
    if len(shapes) > 1:
        ratios = quantile(shapes, 0.975) / quantile(shapes, 0.75)
        shape = np.exp(np.interp(-outer / middle, -ratios, np.log(shapes)))
    return {"loc": loc, "log_scale": np.log(middle / quantile(shape, 0.75)), "shape": shape}
