"""An exponential moving average of the parameters, kept beside the optimiser's state."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaepriors_jax.training.checks import check_optimizer
from vaepriors_jax.training.state import TrainState
from vaepriors_jax.vae import VAEParams, join_states, split_states


class AveragedState(NamedTuple):
    """The state of an optimiser wrapped by `average_params`.

    Attributes:
        inner: the state of the optimiser.
        average: the average of the parameters, in at least float32.
        count: number of steps.
    """

    inner: Any
    average: Any
    count: jax.Array


def average_params(
    optimizer: optax.GradientTransformation, decay: float = 0.999
) -> optax.GradientTransformationExtraArgs:
    r"""Wraps an optimiser, which then also keeps an average of the parameters over its steps.

    After $T$ steps the average is $\sum_t w_t \theta_t / \sum_t w_t$ with $w_t = \text{decay}^{T - t}$ over the
    parameters $\theta_1, \dots, \theta_T$ after each step; the initial parameters have no part in it. The steps
    themselves are those of the optimiser.

    `fit` validates the average, chooses the best epoch by it, and returns it as the `params` of its result;
    `state.params` are the parameters that the next step starts from. In a loop of your own, `averaged_params(state)`
    gives the average. The state of a network, such as the statistics of BatchNorm, is that of the last step.

    Args:
        optimizer: the whole optimiser, such as `optax.adam(1e-3)` or a chain.
        decay: between 0 and 1. The average reaches back over about 1 / (1 - decay) steps.

    Returns:
        An optax transformation.

    Raises:
        TypeError: `optimizer` is no optax transformation.
        ValueError: `decay` is out of range.

    Example:
        >>> import jax.numpy as jnp, optax, vaepriors_jax as vp
        >>> optimizer = vp.average_params(optax.sgd(1.0), decay=0.5)
        >>> params = vp.VAEParams(jnp.array(3.0), {}, {})
        >>> state = optimizer.init(params)
        >>> for _ in range(2):  # to 2 and to 1
        ...     updates, state = optimizer.update(vp.VAEParams(jnp.array(1.0), {}, {}), state, params)
        ...     params = optax.apply_updates(params, updates)
        >>> print(f"{state.average.encoder:.4f}")  # (0.5 * 2 + 1) / 1.5
        1.3333

    References:
        Polyak & Juditsky (1992), Acceleration of stochastic approximation by averaging. The sum of weights is that of
        Kingma & Ba (2015), Adam, section 3.
    """
    check_optimizer(optimizer)
    if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 < decay < 1:
        raise ValueError(f"Expected `decay` to be a number between 0 and 1, such as 0.999; got {decay!r}.")
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> AveragedState:
        return AveragedState(inner.init(params), jax.tree.map(_widened, params), jnp.zeros((), jnp.int32))

    def update(updates: Any, state: AveragedState, params: Any = None, **extra: Any) -> tuple[Any, AveragedState]:
        if params is None:
            raise ValueError("Expected the parameters in `update(gradient, state, params)`: they are averaged.")
        updates, inner_state = inner.update(updates, state.inner, params, **extra)
        count = optax.safe_increment(state.count)
        weight = (1 - decay) / -jnp.expm1(count * math.log(decay))  # of the newest parameters; 1 at the first step

        def moved(average: jax.Array, new: jax.Array) -> jax.Array:
            return average + weight.astype(average.dtype) * (new.astype(average.dtype) - average)

        average = jax.tree.map(moved, state.average, optax.apply_updates(params, updates))
        return updates, AveragedState(inner_state, average, count)

    return optax.GradientTransformationExtraArgs(init, update)


def _widened(leaf: Any) -> jax.Array:
    """A copy in at least float32: in half precision an average would not move by small weights."""
    return jnp.array(leaf, jnp.promote_types(jnp.result_type(leaf), jnp.float32))


def averaged_params(state: TrainState) -> VAEParams:
    """Returns the average that `average_params` keeps in a train state, in the dtypes of the parameters.

    Raises:
        ValueError: the optimiser keeps no average of all parameters.
    """
    average = _average_of(state.opt_state)
    if average is None:
        raise ValueError("Expected the state of an optimizer such as `vp.average_params(optax.adam(1e-3))`.")
    params, states = split_states(state.params)
    if jax.tree.structure(average) != jax.tree.structure(params):
        raise ValueError(
            "Expected an average of all parameters. Wrap the whole optimizer in `vp.average_params`, not the parts of "
            "an `optax.partition`."
        )
    averaged = jax.tree.map(lambda mean, leaf: mean.astype(leaf.dtype), average, params)
    return join_states(averaged, states)


def evaluated_params(state: TrainState) -> VAEParams:
    """The parameters to evaluate: the average where the optimiser keeps one, and else the present ones."""
    return state.params if _average_of(state.opt_state) is None else averaged_params(state)


def _average_of(opt_state: Any) -> Any:
    def is_averaged(node: Any) -> bool:
        return isinstance(node, AveragedState)

    found = [node for node in jax.tree.leaves(opt_state, is_leaf=is_averaged) if is_averaged(node)]
    return found[0].average if found else None
