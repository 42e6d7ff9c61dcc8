"""Encoders and decoders that are Flax Linen modules with BatchNorm or Dropout."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from vaepriors_jax.networks.variables import Variables, check_batch_axis, check_variables


class LinenNetwork(NamedTuple):
    """A Linen module as an encoder or a decoder; `linen_network` makes it.

    Attributes:
        module: the module.
        to_distribution: makes the distribution of what the module returns, or None.
    """

    module: nn.Module
    to_distribution: Callable[[Any], Any] | None = None

    def init(self, key: jax.Array, inputs: Any, /, **context: Any) -> Variables:
        """Makes the variables from a key, one example, and the context that the module reads."""
        state = dict(self.module.init(key, inputs, train=False, **context))
        return Variables(state.pop("params", {}), state)

    def __call__(self, variables: Variables, inputs: jax.Array, /, **context: Any) -> Any:
        """Returns the distribution in evaluation."""
        params, state = check_variables(variables)
        return self._returned(self.module.apply({"params": params, **state}, inputs, train=False, **context))

    def train(self, variables: Variables, inputs: jax.Array, /, *, key: jax.Array, **context: Any) -> tuple[Any, Any]:
        """Returns the distribution in training, and the new state."""
        params, state = check_variables(variables)
        # Linen takes the numbers of every stream without a key of its own, such as "dropout", from "params".
        options = {"mutable": list(state), "rngs": {"params": key}, **context}
        with nn.intercept_methods(_check_batch_norm):
            output, state = self.module.apply({"params": params, **state}, inputs, train=True, **options)
        return self._returned(output), dict(state)

    def _returned(self, output: Any) -> Any:
        return output if self.to_distribution is None else self.to_distribution(output)


def linen_network(module: nn.Module, to_distribution: Callable[[Any], Any] | None = None) -> LinenNetwork:
    """Makes an encoder or a decoder of a Linen module with BatchNorm or Dropout.

    Args:
        module: a module for one example that takes the keyword argument `train`. BatchNorm has `axis_name="batch"`.
            All collections but "params" are state.
        to_distribution: makes the distribution of what the module returns, such as `vp.bernoulli` for a decoder of
            logits. By default the module returns a distribution.

    Returns:
        A network whose `init(key, x)` makes its `vp.Variables`.

    Raises:
        TypeError: `module` is no module, or does not take `train`.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> class Encoder(nn.Module):
        ...     @nn.compact
        ...     def __call__(self, x, train):
        ...         x = nn.BatchNorm(use_running_average=not train, axis_name="batch")(nn.Dense(8)(x))
        ...         x = nn.Dropout(0.1, deterministic=not train)(nn.relu(x))
        ...         return vp.normal_diag(nn.Dense(2)(x), jnp.ones(2))
        >>> encoder = vp.linen_network(Encoder())
        >>> variables = encoder.init(jax.random.key(0), jnp.ones(6))
        >>> jax.tree.map(jnp.shape, variables.state)
        {'batch_stats': {'BatchNorm_0': {'mean': (8,), 'var': (8,)}}}
        >>> encoder(variables, jnp.ones(6)).event_shape
        (2,)
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"Expected a module of Flax Linen, such as `Encoder()`; got {module!r}.")
    parameters = inspect.signature(type(module).__call__).parameters.values()
    if not any(p.name == "train" or p.kind is p.VAR_KEYWORD for p in parameters):
        raise TypeError(
            f"Expected a module that takes `train`, as in `def __call__(self, x, train)`; got {type(module).__name__}. "
            "A module that is the same in training and evaluation needs no `linen_network`: pass its `apply`."
        )
    return LinenNetwork(module, to_distribution)


def _check_batch_norm(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Raises ValueError for a BatchNorm that would normalise within one example."""
    module = context.module
    if isinstance(module, nn.BatchNorm) and context.method_name == "__call__":
        frozen = args[1] if len(args) > 1 else kwargs.get("use_running_average")
        if not (module.use_running_average if frozen is None else frozen):
            check_batch_axis("nn.BatchNorm", module.axis_name)
    return call(*args, **kwargs)
