"""Mixtures of any distributions over one vector."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp
from jax.lax import Precision

from vaepriors_jax.distributions.diffusion_sde import check_density
from vaepriors_jax.distributions.numerics import as_event, log_sum_exp, over_leading_axes
from vaepriors_jax.distributions.spaces import space_of
from vaepriors_jax.loops import map_chunks

SAMPLES_AT_ONCE = 1000


class Mixture(distrax.Distribution):
    r"""A mixture $p(z) = \sum_k w_k\, p_k(z)$ of distributions over one vector.

    The density is the exact log-sum-exp over components of the joint log-density of all dimensions; a sum over
    dimensions of the log-densities of 1-D mixtures would be another distribution. Sampling chooses a component by its
    weight, then draws from it.
    """

    def __init__(
        self,
        log_weights: jax.Array,
        parameters: Any,
        component: Callable[[Any], distrax.Distribution],
    ):
        """Creates a mixture.

        Args:
            log_weights: normalised log-weights [K]; minus infinity for a component that is switched off.
            parameters: arrays with a leading axis of K.
            component: returns a component's distribution, given one slice of `parameters`.
        """
        self.log_weights = log_weights
        self.parameters = parameters
        self._component = component

    @property
    def num_components(self) -> int:
        """Number of components K."""
        return self.log_weights.shape[0]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one z."""
        return jax.eval_shape(lambda one: self._component(one).sample(seed=jax.random.key(0)), self._first).shape

    @property
    def space(self) -> str:
        """The space over which it is, that of its components."""
        found = []
        jax.eval_shape(lambda one: found.append(space_of(self._component(one))), self._first)
        return found[0]

    @property
    def _first(self) -> Any:
        """Shapes of one component's parameters."""
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), self.parameters)

    def component_log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each component at z [..., dim]: [..., K]."""

        def of_component(slice_: Any, value: jax.Array) -> jax.Array:
            component = self._component(slice_)
            check_density(component)
            return component.log_prob(value)

        def evaluate(value: jax.Array) -> jax.Array:
            return jax.vmap(of_component, (0, None))(self.parameters, value)

        event_shape = self.event_shape  # traces a component
        value = as_event(value, event_shape, self.log_weights.dtype)
        return over_leading_axes(evaluate, value, event_ndims=len(event_shape))

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...]."""
        return log_sum_exp(self.log_weights + self.component_log_prob(value))

    def responsibilities(self, value: jax.Array) -> jax.Array:
        """Posterior probability of each component given z [..., dim]: [..., K]."""
        return jax.nn.softmax(self.log_weights + self.component_log_prob(value), axis=-1)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        key_component, key_value = jax.random.split(key)
        chosen = self._choose(key_component, n)
        slices = jax.tree.map(lambda leaf: leaf[chosen], self.parameters)

        def draw(inputs: tuple[jax.Array, Any]) -> jax.Array:
            key, slice_ = inputs
            return self._component(slice_).sample(seed=key)

        # A component may itself be a mixture of very many, such as the exemplars of a class.
        return map_chunks(draw, (jax.random.split(key_value, n), slices), SAMPLES_AT_ONCE)

    def _choose(self, key: jax.Array, n: int) -> jax.Array:
        """Draws n components by weight; by inversion, since Gumbel noise would need an array [n, K]."""
        return jax.random.choice(key, self.num_components, (n,), p=jnp.exp(self.log_weights))

    def with_log_weights(self, log_weights: jax.Array) -> "Mixture":
        """The same components with other log-weights [K]."""
        return Mixture(log_weights, self.parameters, self._component)

    def component_moments(self) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of each component, [K, dim] both."""

        def moments(slice_: Any) -> tuple[jax.Array, jax.Array]:
            component = self._component(slice_)
            return component.mean(), component.variance()

        return jax.vmap(moments)(self.parameters)

    def mean(self) -> jax.Array:
        """Mean [dim]."""
        means, _ = self.component_moments()
        return jnp.einsum("k,k...->...", jnp.exp(self.log_weights), means, precision=Precision.HIGHEST)

    def variance(self) -> jax.Array:
        """Variance of each dimension [dim], within and between components."""
        means, variances = self.component_moments()
        spread = variances + (means - self.mean()) ** 2
        return jnp.einsum("k,k...->...", jnp.exp(self.log_weights), spread, precision=Precision.HIGHEST)
