"""The condition of conditional priors and flows, called `y` unless it is named, and the networks that read it."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from vaepriors_jax.checks import check_labels, check_names, check_positive_integer, did_you_mean

# Stands for a label that is missing.
MISSING_LABEL = -1


def check_condition(num_classes: int | None, condition_dim: int | None, name: str = "y", *, required: bool) -> None:
    """Raises ValueError unless the condition is a label, a vector, or (if not required) absent."""
    check_names(condition=name)
    given = [name for name, value in (("num_classes", num_classes), ("condition_dim", condition_dim)) if value]
    if len(given) == 2 or (required and not given):
        raise ValueError(
            "Expected `num_classes` (y is a label) or `condition_dim` (y is a vector), one of the two; got "
            f"num_classes={num_classes!r}, condition_dim={condition_dim!r}."
        )
    check_positive_integer(
        **{name: v for name, v in (("num_classes", num_classes), ("condition_dim", condition_dim)) if v is not None}
    )


class Read(NamedTuple):
    """An entry of one example that a prior reads: its name, its classes if it is a label, and its shape.

    `missing` is the label that stands for a missing one, or NaN for a vector, if the prior takes such examples.
    """

    name: str
    num_classes: int | None
    shape: tuple[int, ...]
    missing: int | float | None = None


def conditions_read(config: Any) -> Iterator[Read]:
    """Yields what a prior of this configuration reads of each example, itself or by a prior or flow within it.

    `marginalize` sums over its label, and does not read it. A prior whose label or vector may be missing says so.
    A `conditioned` prior reads its own conditions in place of `y`. The covariates of a VampPrior are among the results:
    the encoder reads them.
    """
    if not isinstance(config, Mapping):
        return
    name = config.get("condition", "y")
    if isinstance(config.get("num_classes"), (int, np.integer)):
        yield Read(name, int(config["num_classes"]), ())
    if isinstance(config.get("condition_dim"), (int, np.integer)):
        yield Read(name, None, (int(config["condition_dim"]),))
    if "missing_probabilities" in config:
        yield Read(name, len(config["missing_probabilities"]), (), config.get("missing_label", MISSING_LABEL))
    if "missing_vectors" in config:
        yield Read(name, None, np.shape(config["missing_vectors"])[1:], math.nan)
    own = {"class_probabilities", "missing_probabilities", "missing_vectors"}.intersection(config)
    replaced = name if own else "y" if "conditions" in config else None
    for argument, value in config.items():
        if argument in ("covariates", "conditions") and isinstance(value, Mapping):
            yield from (Read(n, one.get("num_classes"), tuple(one.get("shape", ()))) for n, one in value.items())
            continue
        for item in value if isinstance(value, (list, tuple)) else [value]:
            yield from (read for read in conditions_read(item) if read.name != replaced)


def labels_read(config: Any) -> Iterator[tuple[str, int]]:
    """Yields the name and the number of classes of each label among `conditions_read`."""
    for name, num_classes, *_ in conditions_read(config):
        if num_classes is not None:
            yield name, num_classes


def check_labels_read(config: Any, data: Mapping[str, Any]) -> None:
    """Raises ValueError for labels in data, or in the context, that are outside the classes of a prior."""
    for read in conditions_read(config):
        if read.num_classes is not None and read.name in data:
            check_labels(data[read.name], read.num_classes, read.name, read.missing)


def read_condition(context: Mapping[str, Any], name: str) -> Any:
    """Returns the condition of one example, or raises TypeError."""
    if context.get(name) is None:
        raise TypeError(
            f"A conditional prior or flow reads the context '{name}', which is missing. Pass `{name}=` for one "
            f"example, or put an entry '{name}' into the batch.{did_you_mean([name], context)}"
        )
    return context[name]


def vector_of(y: Any, condition_dim: int | None, name: str = "y") -> jax.Array:
    """Returns the condition of one example as an array, or raises ValueError unless it is a vector of its size."""
    y = jnp.asarray(y)
    if y.shape != (condition_dim,):
        raise ValueError(f"Expected a condition `{name}` of shape ({condition_dim},) for one example; got {y.shape}.")
    return y


class Condition(NamedTuple):
    """The condition that a flow reads: a label, a vector of a size, or none; and its name."""

    num_classes: int | None
    condition_dim: int | None
    name: str = "y"

    def placeholder(self) -> jax.Array | None:
        """A vector of the condition's size for a network's `init`; None without a condition."""
        size = self.num_classes or self.condition_dim
        return None if size is None else jnp.zeros(size)

    def vector(self, context: dict[str, Any]) -> jax.Array | None:
        """The condition of one example: one-hot for a label, unchanged for a vector, None without a condition."""
        if self.num_classes is None and self.condition_dim is None:
            return None
        y = read_condition(context, self.name)
        if self.num_classes is not None:
            return take_class(jnp.eye(self.num_classes), y, self.name)
        return vector_of(y, self.condition_dim, self.name)


def take_class(table: jax.Array, y: Any, name: str = "y") -> jax.Array:
    """Returns row y of a table [num_classes, ...]; NaN where a traced label is outside the classes."""
    num_classes = table.shape[0]
    check_labels(y, num_classes, name)
    y = jnp.asarray(y).astype(jnp.int32)  # int8 does not hold 128 classes; a boolean would select
    if y.shape != ():
        raise ValueError(
            f"Expected one label `{name}` for one example, of shape (); got {y.shape}. Map over the batch."
        )
    in_range = jnp.where(y < 0, num_classes, y)
    return table.at[in_range].get(mode="fill", fill_value=jnp.nan)


def run_network(network: nn.Module, params: Any, *inputs: jax.Array | None) -> jax.Array:
    """Applies a Linen module to its parameters, given without Linen's outer key "params"."""
    return cast(jax.Array, network.apply({"params": params}, *inputs))


class Conditioner(nn.Module):
    """A multilayer perceptron whose last layer starts at zero, so that a flow starts as the identity."""

    hidden: tuple[int, ...]
    num_outputs: int
    bias: bool = True  # of the last layer

    @nn.compact
    def __call__(self, inputs: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Maps inputs [I], and a condition [C] if there is one, to [num_outputs]."""
        if condition is not None:
            inputs = jnp.concatenate([inputs, condition.astype(inputs.dtype)])
        for width in self.hidden:
            inputs = nn.silu(nn.Dense(width, precision=Precision.HIGHEST)(inputs))
        zeros = nn.initializers.zeros
        return nn.Dense(self.num_outputs, use_bias=self.bias, precision=Precision.HIGHEST, kernel_init=zeros)(inputs)
