"""The train state: what a training step changes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from vaepriors_jax.objective_options import DEFAULT, Objective, check_objective
from vaepriors_jax.reconstruction_constraint import Multiplier, first_multiplier
from vaepriors_jax.training.checks import check_optimizer, check_trainable
from vaepriors_jax.vae import VAEParams, check_params, split_states


class TrainState(NamedTuple):
    """What a step of training changes.

    Attributes:
        step: number of steps taken.
        params: parameters of the VAE. For a network with state they are its `Variables`: the optimiser moves the
            parameters, and the step renews the state.
        opt_state: state of the optimiser, of the parameters alone.
        failed_step: the step whose loss or gradient was not finite, or -1. From then on nothing changes: `params` are
            those before that step.
        failed_term: what was not finite: 0 for the reconstruction, 1 for the KL, 2 for the gradient.
        multiplier: the Lagrange multiplier of an objective with a `constraint`, as its `value` and the moving
            `average` of the constraint; otherwise ().
    """

    step: jax.Array
    params: VAEParams
    opt_state: Any
    failed_step: jax.Array
    failed_term: jax.Array
    multiplier: Multiplier | tuple[()] = ()


def init_train_state(
    params: VAEParams, optimizer: optax.GradientTransformation, *, objective: Objective = DEFAULT
) -> TrainState:
    """Makes the state at step 0. It holds copies, since a compiled step reuses the memory of its state.

    Args:
        params: parameters of the VAE.
        optimizer: an optax transformation.
        objective: that of the step. An objective with a `constraint` has a multiplier in the state; others have none.

    Returns:
        The state.

    Raises:
        TypeError: `optimizer` is no optax transformation, or parameters that are not floats.

    Example:
        >>> import optax, vaepriors_jax as vp
        >>> state = vp.init_train_state(vp.VAEParams({}, {}, {}), optax.adam(1e-3))
        >>> int(state.step)
        0
    """
    check_optimizer(optimizer)
    check_objective(objective)
    params = jax.tree.map(jnp.array, check_params(params))
    trained, _ = split_states(params)
    check_trainable(trained)
    step, none = jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32)
    multiplier = () if objective.constraint is None else first_multiplier(objective.constraint)
    return TrainState(step, params, optimizer.init(trained), none, jnp.array(none), multiplier)


def check_state(state: Any, objective: Objective = DEFAULT) -> None:
    """Raises TypeError unless it is a train state, and ValueError if a step has used it or it has no multiplier."""
    if not isinstance(state, TrainState):
        raise TypeError(
            f"Expected the state of `vp.init_train_state(params, optimizer)`, or the one that the last step returned; "
            f"got {type(state).__name__}."
        )
    if isinstance(state.step, jax.Array) and not isinstance(state.step, Tracer) and state.step.is_deleted():
        raise ValueError(
            "Expected a state that no step has used yet: a train state can be used once, since the step reuses its "
            "memory. Write `state, metrics = step(state, key, batch)`, and copy a state that you keep by "
            "`jax.tree.map(jnp.copy, state)`."
        )
    if objective.constraint is not None and not state.multiplier:
        raise ValueError(
            "Expected a state with the multiplier of the objective's `constraint`. Make it by "
            "`vp.init_train_state(params, optimizer, objective=objective)`."
        )
