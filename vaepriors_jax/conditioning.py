"""The condition `y` of conditional priors and flows, and the networks that read it."""

from typing import Any, NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import Precision

from vaepriors_jax.checks import check_labels, check_positive_integer


def check_condition(num_classes: int | None, condition_dim: int | None, *, required: bool) -> None:
    """Raises ValueError unless the condition `y` is a label, a vector, or (if not required) absent."""
    given = [name for name, value in (("num_classes", num_classes), ("condition_dim", condition_dim)) if value]
    if len(given) == 2 or (required and not given):
        raise ValueError(
            "Expected `num_classes` (y is a label) or `condition_dim` (y is a vector), one of the two; got "
            f"num_classes={num_classes!r}, condition_dim={condition_dim!r}."
        )
    check_positive_integer(
        **{name: v for name, v in (("num_classes", num_classes), ("condition_dim", condition_dim)) if v is not None}
    )


def condition_vector(context: dict[str, Any], num_classes: int | None, condition_dim: int | None) -> jax.Array | None:
    """Returns the condition `y` as a vector: one-hot for a label, unchanged for a vector, None without a condition."""
    if num_classes is None and condition_dim is None:
        return None
    if "y" not in context:
        raise TypeError(
            "A conditional prior or flow reads the context 'y', which is missing. Pass `y=` for one example, or put an "
            "entry 'y' into the batch."
        )
    y = context["y"]
    if num_classes is not None:
        return take_class(jnp.eye(num_classes), y)
    y = jnp.asarray(y)
    if y.shape != (condition_dim,):
        raise ValueError(f"Expected a condition `y` of shape ({condition_dim},) for one example; got {y.shape}.")
    return y


class Condition(NamedTuple):
    """The condition `y` that a flow reads: a label, a vector of a size, or none."""

    num_classes: int | None
    condition_dim: int | None

    def placeholder(self) -> jax.Array | None:
        """A vector of the condition's size for a network's `init`; None without a condition."""
        size = self.num_classes or self.condition_dim
        return None if size is None else jnp.zeros(size)

    def vector(self, context: dict[str, Any]) -> jax.Array | None:
        """The condition of one example; see `condition_vector`."""
        return condition_vector(context, *self)


def take_class(table: jax.Array, y: Any) -> jax.Array:
    """Returns row y of a table [num_classes, ...]; NaN where a traced label is outside the classes."""
    num_classes = table.shape[0]
    check_labels(y, num_classes)
    y = jnp.asarray(y).astype(jnp.int32)  # int8 does not hold 128 classes; a boolean would select
    if y.shape != ():
        raise ValueError(f"Expected one label `y` for one example, of shape (); got {y.shape}. Map over the batch.")
    in_range = jnp.where(y < 0, num_classes, y)
    return table.at[in_range].get(mode="fill", fill_value=jnp.nan)


def run_network(network: nn.Module, params: Any, *inputs: jax.Array | None) -> jax.Array:
    """Applies a Linen module to its parameters, given without Linen's outer key "params"."""
    return cast(jax.Array, network.apply({"params": params}, *inputs))


class Conditioner(nn.Module):
    """A multilayer perceptron whose last layer starts at zero, so that a flow starts as the identity."""

    hidden: tuple[int, ...]
    num_outputs: int

    @nn.compact
    def __call__(self, inputs: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Maps inputs [I], and a condition [C] if there is one, to [num_outputs]."""
        if condition is not None:
            inputs = jnp.concatenate([inputs, condition.astype(inputs.dtype)])
        for width in self.hidden:
            inputs = nn.silu(nn.Dense(width, precision=Precision.HIGHEST)(inputs))
        return nn.Dense(self.num_outputs, precision=Precision.HIGHEST, kernel_init=nn.initializers.zeros)(inputs)
