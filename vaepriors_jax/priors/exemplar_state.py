"""The state of an `exemplar` prior: the exemplars, and what training renews at each step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_array, check_finite
from vaepriors_jax.priors.exemplar_condition import ENTRY, ExemplarCondition
from vaepriors_jax.priors.exemplar_encoding import Encode, encode_all, mean_by
from vaepriors_jax.priors.exemplar_subset import init_subset, next_subset


class ExemplarState(NamedTuple):
    """Makes the state and renews it.

    Attributes:
        condition: what the prior is conditioned on.
        dim: dimension of z.
        has_encodings: the state holds an encoding of each exemplar.
        subset_size: how many exemplars are drawn for a step; None for none.
    """

    condition: ExemplarCondition
    dim: int
    has_encodings: bool
    subset_size: int | None

    def init_state(self, *, encode: Encode, x: Any, key: Any = None, **data: Any) -> Any:
        """The exemplars x [N, ...], their conditions, their encodings and a first subset; a `key` draws it."""
        check_array("x", x)
        check_finite("x", x)
        if not len(x):
            raise ValueError("Expected at least one training example in `x` as an exemplar; got none.")
        state, stored = {"exemplars": jnp.array(x)}, None
        if self.condition.is_present:
            stored = state[ENTRY] = jnp.asarray(self.condition.of_examples(data, len(x)))
        if self.has_encodings:
            state["encodings"] = encode_all(encode, (state["exemplars"], self.condition.beside(stored)), self.dim)
        if self.subset_size is None:
            return state
        return state | init_subset(key, self.condition.labels(state), len(x), self.subset_size)

    def update_state(self, state: Any, *, encode: Encode, x: jax.Array, index: Any = None, **batch: Any) -> Any:
        """The encodings, with those of the batch anew, and the next subset."""
        count, new = len(state["exemplars"]), {}
        if index is not None and "encodings" in state:
            beside = self.condition.beside(batch.get(self.condition.name))
            means = jax.vmap(mean_by(encode))(x, beside).astype(state["encodings"].dtype)
            place = jnp.where(index < 0, count, index)  # a negative index would count from the end
            new["encodings"] = state["encodings"].at[place].set(means, mode="drop")
        if self.subset_size is None:
            return new
        return new | next_subset(state, self.condition.labels(state), count, self.subset_size)
