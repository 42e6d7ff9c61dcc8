"""The log-density of each entry of x, for likelihoods that change it entry by entry."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
from tensorflow_probability.substrates.jax import distributions as tfd

from vaepriors_jax.likelihoods.pixelwise import Pixelwise


class Entries:
    """The independent entries of a likelihood over one array.

    Attributes:
        shape: the shape of the entries.
        event_shape: the shape of x, which has further axes where an entry is a vector.
    """

    def __init__(self, likelihood: Any):
        """Takes one of this library's likelihoods, an `Independent`, or a distribution with a batch shape."""
        self.likelihood = likelihood
        self._scalar = None if isinstance(likelihood, Pixelwise) else _without_independent(likelihood)
        if self._scalar is None:
            self.event_shape = tuple(likelihood.event_shape)
            found = jax.eval_shape(likelihood.pixel_log_prob, jax.ShapeDtypeStruct(self.event_shape, jnp.float32))
            self.shape = found.shape
        else:
            self.shape = tuple(self._scalar.batch_shape)
            self.event_shape = (*self.shape, *self._scalar.event_shape)
        if not self.shape and self.event_shape:
            raise TypeError(
                "Expected a likelihood of independent entries, such as `vp.bernoulli(logits)` or `distrax.Normal(loc, "
                f"scale)`; got {type(likelihood).__name__}, which is one distribution over {list(self.event_shape)}."
            )

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats of each entry at x [..., *event_shape]: [..., *shape]."""
        return self.likelihood.pixel_log_prob(value) if self._scalar is None else self._scalar.log_prob(value)

    def inside(self) -> jax.Array:
        """A value inside the support, [*event_shape]; no gradient flows through it."""
        zeros = jnp.zeros(self.event_shape)
        if self._scalar is None:
            return zeros
        try:
            mean = jax.lax.stop_gradient(self._scalar.mean())
        except (NotImplementedError, AttributeError):
            return zeros
        return jnp.where(jnp.isfinite(mean), mean, 0)

    def over_x(self, mask: jax.Array) -> jax.Array:
        """A mask of entries [*shape] as one of x [*event_shape]."""
        mask = mask.reshape(*self.shape, *[1] * (len(self.event_shape) - len(self.shape)))
        return jnp.broadcast_to(mask, self.event_shape)


def _without_independent(likelihood: Any) -> Any:
    """The distribution within any depth of `Independent`."""
    while isinstance(likelihood, (distrax.Independent, tfd.Independent)):
        likelihood = likelihood.distribution
    return likelihood
