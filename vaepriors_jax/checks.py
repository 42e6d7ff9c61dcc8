"""Checks of arguments; each message says what was expected, what was passed, and what to do."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vaepriors_jax.trees import named_arrays

# Names that functions of this package use for themselves. An entry of a batch with such a name would take their place.
RESERVED = (
    *("params", "key", "z", "prior", "posterior", "encode", "data", "vae", "self", "objective", "mean", "is_example"),
    *("beta", "free_bits", "num_samples", "kl_method", "warmup_epochs", "chunk_size", "mesh"),
)


def check_positive_integer(**values: Any) -> None:
    """Raises ValueError for the first of `values` that is not an integer of at least 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"Expected `{name}` to be an integer >= 1; got {value!r}.")


def check_at_least_two(**values: Any) -> None:
    """Raises ValueError for the first of `values` that is not an integer of at least 2."""
    check_positive_integer(**values)
    for name, value in values.items():
        if value < 2:
            raise ValueError(f"Expected `{name}` to be an integer >= 2; got {value!r}.")


def check_boolean(**values: Any) -> None:
    """Raises TypeError for the first of `values` that is not a boolean."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise TypeError(f"Expected `{name}` to be True or False; got {value!r}.")


def check_names(**values: Any) -> None:
    """Raises ValueError for the first of `values` that is not the name of an entry of a batch beside x."""
    for name, value in values.items():
        if not isinstance(value, str) or not value.isidentifier() or value in ("x", "weight", *RESERVED):
            raise ValueError(
                f"Expected `{name}` as the name of an entry of the batch beside 'x' and 'weight', such as 'batch'; got "
                f"{value!r}."
            )


def did_you_mean(missing: Iterable[str], given: Iterable[str]) -> str:
    """Names that were given and look like a name that is missing, as the end of a message; empty if there is none."""
    given = list(given)
    found = [f"{close[0]!r} for {name!r}" for name in missing if (close := get_close_matches(name, given, 1, 0.7))]
    return f" Is {' and '.join(found)} a misspelling?" if found else ""


def check_reserved(names: Iterable[str]) -> None:
    """Raises ValueError for entries of a batch with names that are taken."""
    if taken := [name for name in names if name in RESERVED]:
        raise ValueError(
            f"Expected other names than {', '.join(map(repr, taken))} for entries of a batch: functions of this "
            "package have arguments of these names. Rename the entry."
        )


def check_positive(**values: Any) -> None:
    """Raises ValueError for the first of `values` that is not a finite number above 0."""
    for name, value in values.items():
        is_number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not is_number or not np.isfinite(value) or value <= 0:
            raise ValueError(f"Expected `{name}` to be a finite number > 0; got {value!r}.")


def check_not_negative(**values: Any) -> None:
    """Raises ValueError for the first of `values` that is not a finite number, or an array of them, of at least 0."""
    for name, value in values.items():
        array = np.asarray(value)
        if not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all() or (array < 0).any():
            raise ValueError(f"Expected `{name}` to be finite and >= 0; got {value!r}.")


def check_probabilities(name: str, value: Any) -> np.ndarray:
    """Returns `value` as probabilities in float64, or raises ValueError unless they are >= 0 and sum to 1."""
    probabilities = np.asarray(value, np.float64)
    if probabilities.ndim != 1 or (probabilities < 0).any() or not abs(probabilities.sum() - 1) <= 1e-5:
        raise ValueError(
            f"Expected `{name}` >= 0 that sum to 1; got {value!r}, with sum {probabilities.sum():.6g}. Divide by the "
            "sum."
        )
    return probabilities


def check_precision(name: str, value: Any) -> None:
    """Raises ValueError if a number that is not 0 would be 0 or infinite as the program has it."""
    given = np.asarray(value)
    with np.errstate(over="ignore"):
        kept = given.astype(jax.dtypes.canonicalize_dtype(given.dtype))
    if np.issubdtype(kept.dtype, np.floating):
        lost = (given != 0) & ((np.abs(kept) < np.finfo(kept.dtype).tiny) | ~np.isfinite(kept))
        if lost.any():
            raise ValueError(
                f"Expected values in the {name} that {kept.dtype} can hold; got {value!r}, of which "
                f"{given[lost].tolist()} would be 0 or infinite."
            )


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"Expected `{name}` to be one of {', '.join(map(repr, choices))}; got {value!r}.")


def check_shape(name: str, value: Any) -> tuple[int, ...]:
    """Returns `value` as a tuple of 1 to 64 positive integers, or raises ValueError."""
    shape = (value,) if isinstance(value, (int, np.integer)) else value
    is_sequence = isinstance(shape, (tuple, list)) and 1 <= len(shape) <= 64
    if not is_sequence or any(isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1 for n in shape):
        raise ValueError(
            f"Expected `{name}` to be a shape of 1 to 64 integers >= 1, such as (784,); got {reprlib.repr(value)}."
        )
    return tuple(int(n) for n in shape)


def check_event(value: Any, event_shape: Sequence[int]) -> None:
    """Raises ValueError unless `value` is [..., *event_shape]; broadcasting would give the density of another point."""
    shape, event_shape = np.shape(value), tuple(event_shape)
    if len(shape) < len(event_shape) or shape[len(shape) - len(event_shape) :] != event_shape:
        expected = ", ".join(map(str, ("...", *event_shape)))
        raise ValueError(f"Expected values of shape [{expected}], the event of the distribution; got {list(shape)}.")


def check_key(key: Any) -> jax.Array:
    """Returns a key, or a batch of keys, as typed ones (`jax.random.key`; those of `PRNGKey` are wrapped)."""
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if isinstance(key, jax.Array) and key.dtype == jnp.uint32 and key.ndim:
        return jax.random.wrap_key_data(key)
    raise TypeError(f"Expected a random key, such as `jax.random.key(0)`; got {key!r}.")


def check_array(name: str, value: Any) -> None:
    """Raises TypeError unless a value is an array [N, ...] of real numbers, or nested lists of them."""
    if not (hasattr(value, "__array__") or isinstance(value, Sequence)):
        raise TypeError(f"Expected `{name}` to be an array [N, ...]; got {type(value).__name__}.")
    if isinstance(value, tuple) and any(np.ndim(item) for item in value):
        raise TypeError(
            f"Expected `{name}` to be one array [N, ...]; got a tuple of shapes {[list(np.shape(v)) for v in value]}. "
            "Pass one of its arrays, or stack examples with `np.stack`."
        )
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"Expected `{name}` without masked entries; got a masked array. Fill it: `{name}.filled(...)`.")
    dtype: Any = getattr(value, "dtype", None)
    if not isinstance(value, jax.Array) and not isinstance(dtype, np.dtype):
        try:
            dtype = np.asarray(value).dtype
        except ValueError as error:
            raise ValueError(f"Expected `{name}` to be an array [N, ...]; it cannot be made one: {error}") from error
    is_number = jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)
    if not is_number or jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(
            f"Expected numbers in `{name}`; got an array of dtype {dtype}. Convert it, such as by "
            f"`np.asarray({name}, np.float32)`, or number its categories, as `np.unique({name}, return_inverse=True)` "
            "does."
        )
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        raise TypeError(
            f"Expected `{name}` in the byte order of this machine; got dtype {dtype.str}. Convert it with "
            f"`{name}.astype({name}.dtype.newbyteorder('='))`."
        )


def rows_of_shape(name: str, values: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns data [N, *shape] as an array of the host, or raises ValueError or TypeError."""
    check_array(name, values)
    array = np.asarray(values)
    if array.shape[1:] != shape:
        raise ValueError(f"Expected `{name}` of shape [{', '.join(map(str, ('N', *shape)))}]; got {array.shape}.")
    return array


def check_finite(name: str, value: Any) -> None:
    """Raises ValueError if a concrete array holds NaN or infinity (traced arrays pass)."""
    if isinstance(value, Tracer):
        return
    array = np.asarray(value)
    # In pieces, to save memory.
    rows = max(1, array.shape[0] * 2**20 // array.size) if array.ndim and array.size else 1
    pieces = [array[start : start + rows] for start in range(0, len(array), rows)] if array.ndim else [array]
    # NumPy's `issubdtype` does not count bfloat16 as floating point.
    if jnp.issubdtype(array.dtype, jnp.floating) and not all(np.isfinite(piece).all() for piece in pieces):
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        count = int((~np.isfinite(array)).sum())
        raise ValueError(
            f"Expected finite values in `{name}`; got {count} that are NaN or infinite, the first at index {first}. "
            "Remove or fill them before training."
        )


def check_weights(weight: Any) -> None:
    """Raises ValueError unless weights of examples are numbers [N] that are not negative; traced ones pass."""
    if np.ndim(weight) != 1:
        raise ValueError(f"Expected one number for each example in `weight` [N]; got shape {list(np.shape(weight))}.")
    if isinstance(weight, Tracer):
        return
    check_finite("weight", weight)
    values = np.asarray(weight, np.float64)
    if (values < 0).any():
        raise ValueError(
            f"Expected weights of examples >= 0 in `weight`; got {values.min():g} at index {int(values.argmin())}. A "
            "weight of 0 leaves an example out."
        )


def check_some_weight(weight: Any) -> None:
    """Raises ValueError if all weights of examples are 0; None and traced ones pass."""
    if weight is not None and not isinstance(weight, Tracer) and not np.any(np.asarray(weight)):
        raise ValueError("Expected at least one example of a positive weight in `weight`; all are 0.")


def check_integer_range(name: str, value: Any) -> None:
    """Raises ValueError for integers of 64 bits that jax would wrap around to 32 bits, as it does without x64."""
    if isinstance(value, jax.Array):
        return
    array = np.asarray(value)
    held = jax.dtypes.canonicalize_dtype(array.dtype)
    if held == array.dtype or not np.issubdtype(array.dtype, np.integer) or not array.size:
        return
    smallest, largest = int(array.min()), int(array.max())
    if smallest < np.iinfo(held).min or largest > np.iinfo(held).max:
        raise ValueError(
            f"Expected integers in `{name}` that {held.name} holds; got values from {smallest} to {largest}. Convert "
            'them to float32, or enable 64 bits with `jax.config.update("jax_enable_x64", True)`.'
        )


def check_grey(x: Any) -> None:
    """Raises ValueError unless concrete images hold grey values: [0, 1], integers from 0 to 255, or booleans."""
    if isinstance(x, Tracer) or not np.size(x):
        return
    values = np.asarray(x)
    is_integer, (smallest, largest) = np.issubdtype(values.dtype, np.integer), (values.min(), values.max())
    top = 255 if is_integer else 1
    if not (smallest >= 0 and largest <= top):
        expected = "levels from 0 to 255 in integers" if is_integer else "grey values in [0, 1]"
        raise ValueError(f"Expected {expected} to transform; got values from {smallest} to {largest}.")
    if is_integer and largest == 1:
        raise ValueError(
            "Expected levels from 0 to 255 in integers to binarise; got only zeros and ones. Black and white images "
            "need no `transform=vp.binarize`; otherwise pass them as booleans or floating-point numbers."
        )


def check_transformed(batch: Any) -> None:
    """Raises TypeError unless a transform returned a batch."""
    if not isinstance(batch, Mapping) or "x" not in batch:
        got = f"the entries {sorted(batch)}" if isinstance(batch, Mapping) else type(batch).__name__
        raise TypeError(
            "Expected `transform(key, batch)` to return a batch with an entry 'x', such as `{**batch, 'x': x}`; got "
            f"{got}."
        )


def check_batch(batch: Any) -> None:
    """Raises TypeError or ValueError unless it is a batch of arrays {"x": [B, ...], ...} of one length."""
    if not isinstance(batch, Mapping) or "x" not in batch:
        got = f"the entries {sorted(map(str, batch))}" if isinstance(batch, Mapping) else type(batch).__name__
        raise TypeError(f"Expected a batch with an entry 'x' [B, ...], such as {{'x': images}}; got {got}.")
    check_reserved(batch)
    arrays = dict(named_arrays(batch))
    for name, value in arrays.items():
        if not hasattr(value, "shape") and not (value is None and name != "x"):
            raise TypeError(
                f"Expected `{name}` of the batch to be an array [B, ...]; got {type(value).__name__}. Convert it, such "
                f"as by `np.asarray({name})`."
            )
    lengths = {name: value.shape[0] if value.shape else 0 for name, value in arrays.items() if value is not None}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"Expected arrays of one length [B, ...], at least 1, in the batch; got {lengths}.")


def check_labels(y: Any, num_classes: int, name: str = "y", missing: int | float | None = None) -> None:
    """Raises ValueError unless labels are integers or booleans in [0, num_classes); checks only the dtype if traced.

    A label may also be the one that stands for a `missing` one, if any does.
    """
    dtype = y.dtype if isinstance(y, Tracer) else np.asarray(y).dtype
    if not (np.issubdtype(dtype, np.integer) or np.issubdtype(dtype, np.bool_)):
        raise ValueError(f"Expected integer labels in `{name}`; got dtype {dtype}.")
    if isinstance(y, Tracer):
        return
    labels = np.asarray(y)
    labels = labels if missing is None else labels[labels != missing]
    if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
        raise ValueError(
            f"Expected labels in `{name}` from 0 to {num_classes - 1} (num_classes={num_classes})"
            f"{'' if missing is None else f', or {missing} for a missing one'}; got values from {labels.min()} to "
            f"{labels.max()}. Renumber the labels, or raise `num_classes`."
        )
