"""Encoders and decoders that are Flax NNX modules."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from vaepriors_jax.networks.variables import Variables, check_batch_axis, check_variables


class NNXNetwork(NamedTuple):
    """An NNX module without its arrays, as an encoder or a decoder; `nnx_network` makes it.

    Attributes:
        graph: the module without its variables.
        keys: where the module has random keys.
        counts: where the module has counters of random numbers.
        to_distribution: makes the distribution of what the module returns, or None.
    """

    graph: Any
    keys: tuple[tuple[Any, ...], ...]
    counts: tuple[tuple[Any, ...], ...]
    to_distribution: Callable[[Any], Any] | None = None

    def __call__(self, variables: Variables, inputs: jax.Array, /, **context: Any) -> Any:
        """Returns the distribution in evaluation."""
        return self._returned(self.to_module(variables)(inputs, **context))

    def train(self, variables: Variables, inputs: jax.Array, /, *, key: jax.Array, **context: Any) -> tuple[Any, Any]:
        """Returns the distribution in training, and the new state."""
        module = self._merge(variables, key)
        module.train()
        output = module(inputs, **context)
        return self._returned(output), _arrays(module)[1]

    def to_module(self, variables: Variables) -> Any:
        """Makes the module in evaluation mode, such as one that is trained."""
        module = self._merge(variables, jax.random.key(0))
        module.eval()
        return module

    def _merge(self, variables: Variables, key: jax.Array) -> Any:
        """The module with the variables; the key is that of one example, whose random numbers are its own."""
        from flax import nnx

        rngs = {path: jax.random.fold_in(key, i) for i, path in enumerate(self.keys)}
        rngs |= {path: jnp.zeros((), jnp.uint32) for path in self.counts}
        params, state = check_variables(variables)
        return nnx.merge(self.graph, params, state, unflatten_dict(rngs), copy=True)

    def _returned(self, output: Any) -> Any:
        return output if self.to_distribution is None else self.to_distribution(output)


def nnx_network(module: Any, to_distribution: Callable[[Any], Any] | None = None) -> tuple[NNXNetwork, Variables]:
    """Makes an encoder or a decoder of an NNX module, with or without BatchNorm and Dropout.

    Args:
        module: an `nnx.Module` for one example. BatchNorm has `axis_name="batch"`. `nnx.Param` are parameters, and all
            other variables are state; random keys are drawn anew for each example.
        to_distribution: makes the distribution of what the module returns, such as `vp.bernoulli` for a decoder of
            logits. By default the module returns a distribution.

    Returns:
        The network, and its `vp.Variables` in dicts. Modules of one architecture give equal networks.

    Raises:
        TypeError: `module` is no module.
        ValueError: BatchNorm without `axis_name="batch"`.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> from flax import nnx
        >>> class Encoder(nnx.Module):
        ...     def __init__(self, rngs):
        ...         self.hidden = nnx.Linear(6, 8, rngs=rngs)
        ...         self.norm = nnx.BatchNorm(8, axis_name="batch", rngs=rngs)
        ...         self.dropout = nnx.Dropout(0.1, rngs=rngs)
        ...         self.loc = nnx.Linear(8, 2, rngs=rngs)
        ...     def __call__(self, x):
        ...         x = self.dropout(nnx.relu(self.norm(self.hidden(x))))
        ...         return vp.normal_diag(self.loc(x), jnp.ones(2))
        >>> encoder, variables = vp.nnx_network(Encoder(nnx.Rngs(0)))
        >>> jax.tree.map(jnp.shape, variables.state)
        {'norm': {'mean': (8,), 'var': (8,)}}
        >>> encoder(variables, jnp.ones(6)).event_shape
        (2,)
    """
    from flax import nnx

    if not isinstance(module, nnx.Module):
        raise TypeError(f"Expected an `nnx.Module`, such as `Encoder(nnx.Rngs(0))`; got {module!r}.")
    for _, node in nnx.iter_graph(module):
        if isinstance(node, nnx.BatchNorm):
            check_batch_axis("nnx.BatchNorm", node.axis_name)
    graph, rngs, _ = nnx.split(module, nnx.RngState, ...)
    paths = nnx.to_flat_state(rngs)
    keys = tuple(path for path, variable in paths if isinstance(variable, nnx.RngKey))
    counts = tuple(path for path, variable in paths if isinstance(variable, nnx.RngCount))
    return NNXNetwork(graph, keys, counts, to_distribution), Variables(*_arrays(module))


def _arrays(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the state of a module, in dicts. What it records while it runs is neither."""
    from flax import nnx

    params, _, _, state = nnx.state(module, nnx.Param, nnx.RngState, nnx.Intermediate, ...)
    return nnx.to_pure_dict(params), nnx.to_pure_dict(state)
