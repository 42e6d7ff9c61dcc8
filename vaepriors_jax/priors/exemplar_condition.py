"""What an `exemplar` prior is conditioned on, stored for each exemplar: a label, a vector, or nothing."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_finite, check_labels, rows_of_shape
from vaepriors_jax.conditioning import read_condition, take_class, vector_of

# The condition of each exemplar in the prior's state.
ENTRY = "exemplar_conditions"


class ExemplarCondition(NamedTuple):
    """The condition of an example: a label, a vector of a size, or none.

    Attributes:
        num_classes: the number of classes of a label.
        condition_dim: the size of a vector.
        name: its entry in the batch.
        is_encoded: the encoder reads it beside x.
    """

    num_classes: int | None
    condition_dim: int | None
    name: str
    is_encoded: bool

    @property
    def is_present(self) -> bool:
        """Whether the prior reads a condition."""
        return self.num_classes is not None or self.condition_dim is not None

    def stored(self, context: Mapping[str, Any], count: int) -> jax.Array | None:
        """The conditions [N] or [N, condition_dim] of N exemplars, as the context holds them."""
        if not self.is_present:
            return None
        if context.get(ENTRY) is None:
            raise TypeError(
                f"An `exemplar` prior with a condition reads the context '{ENTRY}', the condition of each exemplar, "
                "which is missing. `vp.init_prior_state` makes the state of this prior."
            )
        stored = jnp.asarray(context[ENTRY])
        if len(stored) != count:
            raise ValueError(f"Expected one condition for each of {count} exemplars; got {len(stored)}.")
        return stored

    def labels(self, state: Mapping[str, Any]) -> jax.Array | None:
        """The labels [N] of the exemplars in the prior's state; None unless the condition is a label."""
        return None if self.num_classes is None else state[ENTRY]

    def beside(self, values: Any) -> dict[str, Any]:
        """What the encoder reads beside x, given conditions [N, ...] of examples."""
        return {self.name: values} if self.is_encoded else {}

    def log_weights(
        self, params: Any, stored: jax.Array | None, count: int, index: Any, context: Mapping[str, Any]
    ) -> jax.Array:
        """Normalised log-weights [N] of N exemplars for one example, minus infinity for the one at `index`."""
        if stored is None:
            return equal_log_weights(count, index, params["log_scale"].dtype)
        return log_weights_of(self._log_kernel(params, stored, context), index)

    def _log_kernel(self, params: Any, stored: jax.Array, context: Mapping[str, Any]) -> jax.Array:
        """Log-weights [N] up to a constant; minus infinity in other classes."""
        dtype = params["log_scale"].dtype
        y = read_condition(context, self.name)
        if self.num_classes is not None:
            label = take_class(jnp.arange(self.num_classes, dtype=dtype), y, self.name)  # NaN outside the classes
            return jnp.where(stored.astype(dtype) == label, jnp.zeros((), dtype), -jnp.inf)
        y = vector_of(y, self.condition_dim, self.name).astype(dtype)
        return -0.5 * jnp.sum(((stored.astype(dtype) - y) * jnp.exp(-params["log_bandwidth"])) ** 2, axis=-1)

    def of_examples(self, data: Mapping[str, Any], count: int) -> np.ndarray:
        """The conditions of the training examples, or ValueError or TypeError where they are missing or do not fit."""
        if data.get(self.name) is None:
            raise ValueError(f"Expected `{self.name}=`, the condition of each exemplar, beside `x=`; got none.")
        shape = () if self.condition_dim is None else (self.condition_dim,)
        values = rows_of_shape(self.name, data[self.name], shape)
        if len(values) != count:
            raise ValueError(f"Expected as many `{self.name}` as examples x; got {len(values)} and {count}.")
        if self.num_classes is None:
            check_finite(self.name, values)
            return values
        check_labels(values, self.num_classes, self.name)
        values = values.astype(np.int32)
        counts = np.bincount(values, minlength=self.num_classes)
        if (counts < 2).any():
            few = ", ".join(f"{count} of class {label}" for label, count in enumerate(counts) if count < 2)
            raise ValueError(
                f"Expected at least 2 exemplars of each class in `{self.name}`, since training leaves one out; got "
                f"{few}. Add examples, merge classes, or lower `num_classes`."
            )
        return values


def log_weights_of(log_kernel: jax.Array, index: Any) -> jax.Array:
    """Normalised log-weights [N], with minus infinity for the exemplar at `index`."""
    if index is not None:
        left_out = jnp.arange(len(log_kernel)) == checked_index(index, len(log_kernel))
        log_kernel = jnp.where(left_out, -jnp.inf, log_kernel)
    return jax.nn.log_softmax(log_kernel)


def equal_log_weights(count: int, index: Any, dtype: Any) -> jax.Array:
    """The same for equal weights, without a sum over all exemplars for each example of a batch, which takes time."""
    if index is None:
        return jnp.full(count, -jnp.log(jnp.asarray(count, dtype)))
    index = checked_index(index, count)
    is_place = (index >= 0) & (index < count)
    log_weight = -jnp.log(jnp.asarray(count, dtype) - is_place.astype(dtype))
    return jnp.where(jnp.arange(count) == index, -jnp.inf, log_weight)


def checked_index(index: Any, count: int) -> jax.Array:
    """The place that is left out, or ValueError where it is no integer, or nothing would be left."""
    index = jnp.asarray(index)
    if index.shape != () or not jnp.issubdtype(index.dtype, jnp.integer):
        raise ValueError(
            f"Expected `index` to be an integer, the place of one example among the exemplars; got {index.dtype} "
            f"of shape {index.shape}. For a batch map over the examples."
        )
    if count < 2:
        raise ValueError(f"Expected at least 2 exemplars where `index` leaves one out; got {count}.")
    return index
