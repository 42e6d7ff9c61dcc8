"""Networks with state and noise: their variables, and how they are called in training."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax

from vaepriors_jax.base import Params

# The axis of the batch in training, over which a network computes its statistics.
BATCH_AXIS = "batch"


class Variables(NamedTuple):
    """The parameters and the state of a network, or of a prior.

    It stands in `vp.VAEParams` as `encoder` or `decoder` in place of parameters, and says that the network is a
    `TrainableNetwork`; or as `prior`, for a prior with state (see `vp.init_prior_state`).

    Attributes:
        params: what the optimiser changes.
        state: what the optimiser does not change, such as the running statistics of BatchNorm; {} for none.
    """

    params: Params
    state: Any


class TrainableNetwork(Protocol):
    """An encoder or decoder that differs between training and evaluation, for one example.

    `vp.linen_network`, `vp.nnx_network` and `vp.equinox_network` make one of a module. For another framework write the
    two methods, best in a NamedTuple: equal networks are then one compiled program.
    """

    def __call__(self, variables: Variables, inputs: jax.Array, /, *args: Any, **kwargs: Any) -> Any:
        """Returns the distribution in evaluation: running statistics, no noise."""
        ...

    def train(self, variables: Variables, inputs: jax.Array, /, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Returns the distribution in training, and the new state, given the argument `key`.

        It is mapped over a batch by `jax.vmap(..., axis_name="batch")`. Each example has a key of its own. The state is
        that of the batch: it does not differ between examples.
        """
        ...


# The state of a network in a tuple of one; empty for a network without `Variables`.
State = tuple[Any, ...]


def split(variables: Any) -> tuple[Params, State]:
    """Splits what stands for a network in `VAEParams` into parameters and state."""
    return (variables.params, (variables.state,)) if isinstance(variables, Variables) else (variables, ())


def join(params: Params, state: State) -> Any:
    """Puts together what `split` gives."""
    return Variables(params, *state) if state else params


def call_in_training(
    network: Any, variables: Any, inputs: jax.Array, key: jax.Array, context: Mapping[str, Any]
) -> tuple[Any, State]:
    """Returns what a network gives for one example of a training batch, and its new state."""
    if not isinstance(variables, Variables):
        return network(variables, inputs, **context), ()
    if not hasattr(network, "train"):
        raise TypeError(
            "Expected a network with a method `train`, as `vp.linen_network(module)` makes it, since its parameters "
            f"are `vp.Variables`; got {network!r}. For a network without state and noise pass plain parameters."
        )
    output, state = network.train(variables, inputs, key=key, **context)
    return output, (state,)


def check_batch_axis(layer: str, axis_name: Any) -> None:
    """Raises ValueError unless a layer of batch statistics averages over the axis of the batch."""
    if BATCH_AXIS not in (axis_name if isinstance(axis_name, (list, tuple)) else (axis_name,)):
        raise ValueError(
            f'Expected `{layer}(..., axis_name="{BATCH_AXIS}")`; got axis_name={axis_name!r}. A network takes one '
            f"example, and the batch is the axis '{BATCH_AXIS}', over which the layer averages."
        )


def check_variables(variables: Any) -> Variables:
    """Returns the variables of a network, or raises TypeError."""
    if not isinstance(variables, Variables):
        raise TypeError(
            f"Expected the `vp.Variables` that belong to the network; got {type(variables).__name__}. `init` of a "
            "`linen_network` makes them; `nnx_network` and `equinox_network` return them beside the network."
        )
    return variables
