"""Checks of a whole data set, before anything is compiled."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import (
    check_array,
    check_finite,
    check_integer_range,
    check_key,
    check_reserved,
    check_some_weight,
    check_transformed,
    check_weights,
)
from vaepriors_jax.conditioning import check_labels_read, conditions_read
from vaepriors_jax.factories import check_is, check_shapes
from vaepriors_jax.likelihoods.support import Support
from vaepriors_jax.networks.variables import split
from vaepriors_jax.trees import map_arrays, named_arrays, num_rows
from vaepriors_jax.unread import declared_entries, warn_of_unread
from vaepriors_jax.vae import VAE, VAEParams, check_params, context_of

LABEL = "y"


def check_vae(vae: Any, order: str) -> None:
    """Raises TypeError unless it is a `VAE` with a prior; `order` is that of the function's arguments."""
    if not isinstance(vae, VAE):
        raise TypeError(f"Expected a `vp.VAE` as the first argument; got {type(vae).__name__}. The order is {order}.")
    check_is(Prior, vae.prior, ", as the `prior` of the `vp.VAE`")
    for name, example in (("encoder_context", ("y",)), ("decoder_context", ("y",)), ("latent_shape", (4, 4, 2))):
        value = getattr(vae, name)
        if not isinstance(value, tuple) and not (value is None and name == "latent_shape"):
            raise TypeError(f"Expected `{name}` of the `vp.VAE` as a tuple, such as {example}; got {value!r}.")
    _check_missing_labels(vae)


def _check_missing_labels(vae: VAE) -> None:
    """Raises ValueError if a network reads a label or a vector that examples may lack."""
    optional = {read.name for read in conditions_read(vae.prior.config) if read.missing is not None}
    for network in ("encoder", "decoder"):
        if both := optional.intersection(getattr(vae, f"{network}_context")):
            raise ValueError(
                f"Expected a condition that the prior alone reads, since examples of a `semi_supervised` prior may "
                f"lack it; {network}_context has {', '.join(map(repr, sorted(both)))}. Leave it out there, or train "
                "p(x|y) on the examples that have one, without `semi_supervised`."
            )


def check_model(vae: VAE, params: VAEParams, key: jax.Array) -> tuple[VAEParams, jax.Array]:
    """Returns the parameters and the key, or raises TypeError for the first argument that is of another kind."""
    check_vae(vae, "vae, params, key, data")
    return check_params(params), check_key(key)


def check_data(
    vae: VAE,
    params: VAEParams,
    data: Mapping[str, Any],
    key: jax.Array,
    *,
    transform: Callable[..., Any] | None = None,
    place: Callable[[Any], Any] = jnp.asarray,
    whole: bool = True,
) -> dict[str, jax.Array]:
    """Returns the data as arrays on the device, or raises an error that says what is wrong with them.

    Warns of entries that nothing reads, other than labels `y`.

    Args:
        vae: the VAE that will read them.
        params: its parameters, or replicas of them.
        data: {"x": [N, ...], "y": [N], ...}.
        key: a key, or a batch of keys where `params` are replicas.
        transform: what training does to a batch, such as `binarize`.
        place: function that puts an array where it will be used.
        whole: whether the data are a whole data set, and not a batch of one, all of whose weights may be 0.

    Raises:
        ValueError: no `x`, unequal lengths, NaN, integers that would wrap around, labels outside the classes, values
            outside the likelihood's support.
        TypeError: context missing that a network or the prior reads.
    """
    params, key = check_model(vae, params, key)
    if not isinstance(data, Mapping) or "x" not in data:
        got = f"the entries {sorted(data)}" if isinstance(data, Mapping) else _in_words(data)
        raise ValueError(f"Expected data with an entry 'x' [N, ...], such as {{'x': images}}; got {got}.")
    _check_arrays(data)
    check_entries(vae, data)
    check_values(vae, data)
    if whole:
        check_some_weight(data.get("weight"))
    arrays = place_arrays(place, data)
    # Arrays in host memory are checked there.
    known = map_arrays(lambda value: value if isinstance(value, np.ndarray) else place(value), data)
    _check_support(vae, params, known, key, transform)
    _warn_of_unread(vae, params, known, key, transform)
    return arrays


def place_arrays(place: Callable[[Any], Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Puts arrays where they will be used. Weights of examples become floats: sums of integers and halves overflow."""
    arrays = map_arrays(place, data)
    if "weight" in arrays:
        arrays["weight"] = arrays["weight"].astype(jax.dtypes.canonicalize_dtype(float))
    return arrays


@jax.jit
def _first_replica(params: VAEParams) -> VAEParams:
    return jax.tree.map(lambda leaf: leaf[0], params)


def _warn_of_unread(
    vae: VAE, params: VAEParams, data: Mapping[str, Any], key: jax.Array, transform: Callable[..., Any] | None
) -> None:
    if key.ndim:
        key, params = key[0], _first_replica(params)
    # Labels stand in most data sets, for priors that read them and for others.
    data = {name: value for name, value in data.items() if name != LABEL or name in declared_entries(vae)}
    shapes = map_arrays(lambda v: jax.ShapeDtypeStruct(v.shape, jax.dtypes.canonicalize_dtype(v.dtype)), data)
    warn_of_unread(vae, params, shapes, transform and partial(transform, key))


def _check_arrays(data: Mapping[str, Any]) -> None:
    if isinstance(data["x"], Mapping) and "x" in data["x"]:
        raise TypeError(
            "Expected `x` to be an array [N, ...]; got dict with an entry 'x' of its own. Pass that entry, or name the "
            "parts of x otherwise."
        )
    for name, value in data.items():
        if isinstance(value, Mapping) and not jax.tree.leaves(value):
            raise ValueError(f"Expected arrays in `{name}`; got a dict without any.")
    for name, value in named_arrays(data):
        check_array(name, value)


def _in_words(data: Any) -> str:
    """What was given as data in place of a dict."""
    name = type(data).__name__
    if isinstance(data, (list, tuple)) and data:
        return f"a {name} of {type(data[0]).__name__}s. Batches in a list are such dicts, too"
    if isinstance(data, (list, tuple)):
        return f"an empty {name}"
    return f"an array of shape {np.shape(data)}" if hasattr(data, "dtype") else f"a value of type {name}"


def check_values(vae: VAE, data: Mapping[str, Any]) -> None:
    """Raises ValueError for unequal lengths, context that is not finite, and labels outside the classes.

    Values of x that are not finite are looked for once the likelihood is known, which may allow missing ones.
    """
    arrays = dict(named_arrays(data))
    lengths = {name: np.shape(value)[0] if np.ndim(value) else 0 for name, value in arrays.items()}
    if len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise ValueError(f"Expected arrays of one length [N, ...], at least 1; got {lengths}.")
    for name, value in arrays.items():
        check_integer_range(name, value)
    may_lack = {read.name for read in conditions_read(vae.prior.config) if read.missing is not None}
    for name, value in named_arrays(context_of(data)):
        # NaN marks a vector that is missing.
        check_finite(name, jnp.nan_to_num(value, posinf=jnp.inf, neginf=-jnp.inf) if name in may_lack else value)
    if "weight" in data:
        check_weights(data["weight"])
    check_labels_read(vae.prior.config, data)


def check_entries(vae: VAE, names: Collection[str]) -> None:
    """Raises ValueError for entries of a batch with names that are taken."""
    check_reserved(names)
    if "weight" in (*vae.encoder_context, *vae.decoder_context, *(r.name for r in conditions_read(vae.prior.config))):
        raise ValueError(
            "Expected another name than 'weight' for what a network or the prior reads: an entry 'weight' weighs the "
            "examples. Rename it."
        )


def _rows(value: Any, start: int, count: int) -> Any:
    """Rows of an array, sliced on its device if it has one, by a program that is compiled once."""
    if isinstance(value, jax.Array):
        return value if count == len(value) else jax.lax.dynamic_slice_in_dim(value, start, count)
    return np.asarray(value)[start : start + count]


def _check_support(
    vae: VAE,
    params: VAEParams,
    data: Mapping[str, Any],
    key: jax.Array,
    transform: Callable[..., Any] | None,
    *,
    chunk_size: int = 2**18,
) -> None:
    """Checks x, and the transformed data: shapes on networks and prior, values against the likelihood's support.

    `chunk_size` is the number of entries of x that are checked together.
    """
    if key.ndim:
        key, params = key[0], _first_replica(params)
    check_shapes(vae.prior, split(params.prior)[0])
    count = num_rows(data)
    size = max(1, min(count, chunk_size * count // max(1, sum(map(np.size, jax.tree.leaves(data["x"]))))))
    support = support_of(vae, params, key, data, transform, size)
    if support.observed is None:
        support.check_finite(data)
    if transform is None and support.reads_anything or any(isinstance(x, Tracer) for x in jax.tree.leaves(data["x"])):
        return
    check_input, compiled = getattr(transform, "check_input", None), jax.jit(transform) if transform else None
    for start in range(0, count, size):
        chunk = map_arrays(partial(_rows, start=start, count=min(size, count - start)), data)
        if check_input is not None:
            check_input(chunk["x"])
        if transform is not None and compiled is not None:
            # The first chunk is not compiled, so that a transform can check values.
            chunk = (compiled if start else transform)(jax.random.fold_in(key, start), chunk)
            support.check_finite(chunk, ", transformed")
        support.check_values(chunk)


def support_of(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: Mapping[str, Any],
    transform: Callable[..., Any] | None,
    size: int | None = None,
) -> Support:
    """Traces transform, networks and prior on a batch of the data; returns what the likelihood allows as x."""

    def shape(value: Any) -> jax.ShapeDtypeStruct:
        shape = value.shape if size is None else (size, *value.shape[1:])
        return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(value.dtype))

    batch = map_arrays(shape, data)
    if transform is not None:
        batch = _transformed(transform, key, batch)
    return trace_networks(vae, params, key, batch, data)


def _transformed(transform: Callable[..., Any], key: jax.Array, batch: dict[str, Any]) -> Any:
    """The shapes of a transformed batch."""
    if not callable(transform):
        raise TypeError(f"Expected `transform` to be a function of a key and a batch; got {transform!r}.")
    try:
        batch = jax.eval_shape(transform, key, batch)
    except Exception as error:
        error.add_note(f"This came from `transform(key, batch)`, given a batch of the entries {sorted(batch)}.")
        raise
    check_transformed(batch)
    return batch


def trace_networks(
    vae: VAE, params: VAEParams, key: jax.Array, batch: Mapping[str, Any], data: Mapping[str, Any]
) -> Support:
    """Traces networks and prior on one example of a batch; returns what the likelihood allows as x.

    The `data`, before they were transformed, are for messages.
    """
    checks = []

    def observed(params: VAEParams, key: jax.Array, example: dict[str, jax.Array]) -> Any:
        context = context_of(example)
        z = vae.posterior(params, example["x"], **context).sample(seed=key)
        vae.latent_prior(params, **context)
        likelihood = vae.likelihood(params, z, **context)
        checks.append(getattr(likelihood, "check_support", None))
        return getattr(likelihood, "observed", None)

    example = jax.tree.map(lambda value: jax.ShapeDtypeStruct(value.shape[1:], value.dtype), dict(batch))
    try:
        masks = jax.eval_shape(observed, params, key, example)
    except Exception as error:
        shapes = {name: list(value.shape) for name, value in named_arrays(data)}
        error.add_note(
            f"This came from the networks or the prior given one example of the data, {shapes} [N, ...]. The first "
            "axis is that of the examples; a single example x is passed as `x[None]`."
        )
        raise
    if masks is None:
        return Support(checks[0])
    return Support(checks[0], partial(jax.jit(jax.vmap(observed, (None, None, 0))), params, key))
