"""Encoders and decoders that are Equinox modules."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.networks.variables import Variables, check_batch_axis, check_variables


class EquinoxNetwork(NamedTuple):
    """An Equinox module without its arrays, as an encoder or a decoder; `equinox_network` makes it.

    Attributes:
        structure: the structure of the module.
        leaves: a name for each leaf of the module, and the leaf where it is not an array.
        state: the structure of the module's state, or None for a module without one.
        takes_key: the module takes the argument `key`.
        to_distribution: makes the distribution of what the module returns, or None.
    """

    structure: Any
    leaves: tuple[tuple[str, Any], ...]
    state: Any
    takes_key: bool
    to_distribution: Callable[[Any], Any] | None = None

    def __call__(self, variables: Variables, inputs: jax.Array, /, **context: Any) -> Any:
        """Returns the distribution in evaluation."""
        return self._run(variables, inputs, None, context)[0]

    def train(self, variables: Variables, inputs: jax.Array, /, *, key: jax.Array, **context: Any) -> tuple[Any, Any]:
        """Returns the distribution in training, and the new state."""
        return self._run(variables, inputs, key, context)

    def to_module(self, variables: Variables) -> tuple[Any, Any]:
        """Makes the module in inference mode, such as one that is trained, and its state, or None."""
        return self._merge(variables, inference=True)

    def _run(self, variables: Variables, inputs: Any, key: jax.Array | None, context: dict[str, Any]) -> Any:
        module, state = self._merge(variables, inference=key is None)
        arguments = context | ({"key": key} if self.takes_key else {})
        if state is None:
            output = module(inputs, **arguments)
        else:
            output, state = module(inputs, state, **arguments)
        output = output if self.to_distribution is None else self.to_distribution(output)
        return output, variables.state | {"state": _numbered(state)}

    def _merge(self, variables: Variables, *, inference: bool) -> tuple[Any, Any]:
        """The module and its state. Equinox uses a state once, so that each call makes one."""
        import equinox as eqx

        params, others = check_variables(variables)
        arrays = params | others["arrays"]
        leaves = [arrays.get(name, leaf) for name, leaf in self.leaves]
        module = eqx.nn.inference_mode(jax.tree.unflatten(self.structure, leaves), inference)
        state = None if self.state is None else jax.tree.unflatten(self.state, list(others["state"].values()))
        return module, state


def equinox_network(
    module: Any, state: Any = None, to_distribution: Callable[[Any], Any] | None = None
) -> tuple[EquinoxNetwork, Variables]:
    """Makes an encoder or a decoder of an Equinox module, with or without BatchNorm and Dropout.

    Args:
        module: an `eqx.Module` for one example. It is called as `module(x)`, or with a state as `module(x, state)`,
            which returns its output and the new state. It gets `key` if it takes it. BatchNorm has `axis_name="batch"`.
            Arrays of floats are parameters.
        state: the module's state, where `eqx.nn.make_with_state` made both.
        to_distribution: makes the distribution of what the module returns, such as `vp.bernoulli` for a decoder of
            logits. By default the module returns a distribution.

    Returns:
        The network, and its `vp.Variables` in dicts. Modules of one architecture give equal networks.

    Raises:
        TypeError: `module` is no module.
        ValueError: BatchNorm without `axis_name="batch"`, or a state that is missing.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> class Encoder(eqx.Module):
        ...     hidden: eqx.nn.Linear
        ...     norm: eqx.nn.BatchNorm
        ...     loc: eqx.nn.Linear
        ...     def __init__(self, key):
        ...         keys = jax.random.split(key)
        ...         self.hidden = eqx.nn.Linear(6, 8, key=keys[0])
        ...         self.norm = eqx.nn.BatchNorm(8, axis_name="batch", mode="batch")
        ...         self.loc = eqx.nn.Linear(8, 2, key=keys[1])
        ...     def __call__(self, x, state):
        ...         x, state = self.norm(self.hidden(x), state)
        ...         return vp.normal_diag(self.loc(jax.nn.relu(x)), jnp.ones(2)), state
        >>> encoder, variables = vp.equinox_network(*eqx.nn.make_with_state(Encoder)(jax.random.key(0)))
        >>> encoder(variables, jnp.ones(6)).event_shape
        (2,)
    """
    import equinox as eqx

    if not isinstance(module, eqx.Module):
        raise TypeError(f"Expected an `eqx.Module`, such as `Encoder(key)`; got {module!r}.")
    _check_layers(module, state)
    leaves = [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(module)]
    arrays = {name: jnp.asarray(leaf) for name, leaf in leaves if eqx.is_array(leaf)}
    params = {name: array for name, array in arrays.items() if jnp.issubdtype(array.dtype, jnp.inexact)}
    others = {name: array for name, array in arrays.items() if name not in params}
    network = EquinoxNetwork(
        jax.tree.structure(module),
        tuple((name, None if name in arrays else leaf) for name, leaf in leaves),
        None if state is None else jax.tree.structure(state),
        "key" in inspect.signature(type(module).__call__).parameters,
        to_distribution,
    )
    return network, Variables(params, {"arrays": others, "state": _numbered(state)})


def _check_layers(module: Any, state: Any) -> None:
    """Raises ValueError for a BatchNorm over another axis than the batch, or where the module's state is missing."""
    import equinox as eqx

    def has_state(node: Any) -> bool:
        return isinstance(node, (eqx.nn.BatchNorm, eqx.nn.StateIndex))

    for layer in jax.tree.leaves(module, is_leaf=has_state):
        if isinstance(layer, eqx.nn.BatchNorm):
            check_batch_axis("eqx.nn.BatchNorm", layer.axis_name)
        if has_state(layer) and state is None:
            raise ValueError(
                "Expected the state of a module that has one; got none. Make both by "
                "`module, state = eqx.nn.make_with_state(Encoder)(key)`, and pass `equinox_network(module, state)`."
            )


def _numbered(state: Any) -> dict[str, jax.Array]:
    """The arrays of a state by their numbers, in an order that sorting keeps."""
    return {f"{i:04d}": leaf for i, leaf in enumerate(jax.tree.leaves(state))}
