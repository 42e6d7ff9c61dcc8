"""A prior that reads several conditions by name."""

import math
from collections.abc import Mapping
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Inner, Prior
from vaepriors_jax.conditioning import conditions_read, read_condition, take_class
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.covariates import Covariate, check_covariates


def _vector(name: str, condition: Covariate, value: Any) -> jax.Array:
    """One condition as a vector: one-hot for integers, and numbers as they are."""
    value = jnp.asarray(value)
    if value.shape != condition.shape:
        raise ValueError(
            f"Expected a condition `{name}` of shape {condition.shape} for one example; got {value.shape}."
        )
    if condition.num_classes is None:
        return value.reshape(-1).astype(jax.dtypes.canonicalize_dtype(float))
    table = jnp.eye(condition.num_classes)
    rows = (
        [take_class(table, one, name) for one in value.reshape(-1)] if value.ndim else [take_class(table, value, name)]
    )
    return jnp.concatenate(rows)


def _joint_label(conditions: Mapping[str, Covariate], context: Mapping[str, Any]) -> jax.Array:
    """The label of a combination of labels, the last of which changes fastest; negative outside the classes."""
    joint: Any = 0
    is_outside: Any = False
    for name, condition in conditions.items():
        label = jnp.asarray(read_condition(context, name)).astype(jnp.int32)
        is_outside |= (label < 0) | (label >= (condition.num_classes or 2))
        joint = joint * (condition.num_classes or 2) + label
    # Not -1, which stands for a missing label.
    return jnp.where(is_outside, jnp.iinfo(jnp.int32).min, joint)


@factory
def conditioned(prior: Prior, conditions: Mapping[str, Mapping[str, Any]]) -> Prior:
    r"""Makes of a prior p(z|y) one that reads several conditions, such as p(z|batch, age).

    - A prior or flow with `condition_dim` gets them as one vector, in their order: integers one-hot, numbers and
      booleans as they are.
    - A prior with `num_classes` gets integers as one label, $y = (y_1 C_2 + y_2) C_3 + y_3$ with $C_i$ the numbers of
      classes, which has `num_classes` $= C_1 C_2 C_3$.

    Args:
        prior: a prior that reads `y`.
        conditions: the entries of the batch that it reads instead, by name: {"num_classes": 3} for an integer in
            [0, 3), {"boolean": True} for a boolean, {} for a real number; arrays have a "shape".

    Context:
        What `conditions` names, and what the prior reads beside `y`.

    Returns:
        A prior with the parameters of `prior`.

    Raises:
        ValueError: conditions of another size than that of `y`, or those that are no integers for a prior that reads a
            label; a label outside the classes. (Within a compiled function the density is then NaN.)

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> conditions = {"batch": {"num_classes": 3}, "age": {}}
        >>> prior = vp.conditioned(vp.conditional_normal(2, condition_dim=4), conditions)
        >>> prior.apply(prior.init(jax.random.key(0)), batch=1, age=0.5).event_shape
        (2,)
    """
    known = check_covariates("conditions", conditions)
    reads = [read for read in conditions_read(prior.config) if read.name == "y"]
    labels = [read.num_classes for read in reads if read.num_classes is not None]
    _check_size(prior, known, labels or [read.shape[0] for read in reads], is_label=bool(labels))

    def vector_of_example(context: Mapping[str, Any]) -> jax.Array:
        return jnp.concatenate([_vector(name, one, read_condition(context, name)) for name, one in known.items()])

    def apply(params: Any, **context: Any) -> distrax.Distribution:
        vector = vector_of_example(context)  # it checks concrete labels
        y = _joint_label(known, context) if labels else vector
        return prior.apply(params, **(context | {"y": y}))

    def start(key: jax.Array, **data: Any) -> Any:
        if labels:
            data["y"] = _joint_label(known, data)
        return prior.init_from_data(key, **data) if prior.init_from_data else prior.init(key)

    def init_state(**data: Any) -> Any:
        given = {name: jnp.asarray(read_condition(data, name)) for name in known}
        y = _joint_label(known, given) if labels else jax.vmap(vector_of_example)(given)
        return prior.init_state(**(data | {"y": y})) if prior.init_state else {}

    starts, state = start if prior.init_from_data else None, init_state if prior.init_state else None
    return Prior(prior.init, apply, {}, starts, Inner(prior), state, prior.update_state, prior.log_hyperprior)


def _check_size(prior: Prior, conditions: Mapping[str, Covariate], sizes: list[int], *, is_label: bool) -> None:
    """Raises ValueError unless the conditions fit the `y` of the prior, where that is known."""
    if not conditions:
        raise ValueError("Expected at least one of `conditions`; got none.")
    if is_label and any(one.num_classes is None or one.shape for one in conditions.values()):
        raise ValueError(
            f"Expected `conditions` that are single integers, since {prior!r} reads a label; got {dict(conditions)}. "
            "Give the prior a `condition_dim` in place of `num_classes`."
        )
    joint = math.prod(one.num_classes or 1 for one in conditions.values())
    total = sum((one.num_classes or 1) * math.prod(one.shape) for one in conditions.values())
    size, name = (joint, "num_classes") if is_label else (total, "condition_dim")
    if wrong := [found for found in sizes if found != size]:
        raise ValueError(f"Expected {name}={size} in the prior, as `conditions` have it; got {name}={wrong[0]}.")
