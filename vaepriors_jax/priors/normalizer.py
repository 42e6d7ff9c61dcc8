"""The normaliser of a reweighted prior: an expectation under a base prior, estimated from draws, in a prior's state."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_key, check_positive_integer
from vaepriors_jax.loops import scan
from vaepriors_jax.priors.weighting import DRAWN_AT_ONCE, NUM_DRAWS, Weighting, key_of


class Normalizer(NamedTuple):
    r"""$Z = E_\pi[f(z)]$ for samples z of a base prior $\pi$ and a function $f > 0$.

    The state of a prior holds the estimate of Z, its standard error, and a key for the draws of the next step. All
    methods take the parameters of that prior, with an entry `base`.

    Attributes:
        weighting: $\pi$ and f.
        num_draws: number of draws in each step of training.
        decay: weight of the past in the running mean.
    """

    weighting: Weighting
    num_draws: int
    decay: float

    def _draw(self, params: Any, base: distrax.Distribution, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        z = jax.lax.stop_gradient(base.sample(seed=key, sample_shape=count))
        return z, jnp.exp(self.weighting.log_function(params, z))

    def value(self, params: Any, context: Mapping[str, Any], value: Any, words: Any) -> jax.Array:
        """The value that the state has for Z, with the gradient of new draws."""
        base = self.weighting.shared_base(params, context)
        mean = mean_with_score(base, *self._draw(params, base, key_of(words), self.num_draws))
        return _with_gradient(jnp.asarray(value, mean.dtype), mean)

    def init_state(self, *, params: Any, key: Any = None, num_draws: int = NUM_DRAWS, **data: Any) -> Any:
        """The state of the prior, with that of its base: an estimate from at least `num_draws` draws."""
        check_positive_integer(num_draws=num_draws)
        key = jax.random.key(0) if key is None else check_key(key)
        state, base = self.weighting.start(params, data)
        count = -(-num_draws // DRAWN_AT_ONCE)
        at_once = -(-num_draws // count)

        def step(carry: None, key: jax.Array) -> tuple[None, tuple[jax.Array, jax.Array]]:
            values = self._draw(params, base, key, at_once)[1]
            return carry, (jnp.mean(values), jnp.var(values))

        key_draws, key_next = jax.random.split(key)
        _, (means, variances) = scan(step, None, jax.random.split(key_draws, count), count)
        error = jnp.sqrt((jnp.mean(variances) + jnp.var(means)) / (count * at_once))
        words = jax.random.bits(key_next, (2,), jnp.uint32)
        own = {"normalizer": jnp.mean(means), "normalizer_error": error, "normalizer_key": words}
        return self.weighting.joined(state, own)

    def update_state(self, state: Any, *, params: Any, **batch: Any) -> Any:
        """The entries that a training step renews: the running mean, its error and the key, and those of the base."""
        renewed, base = self.weighting.renewed(state, params, batch)
        key = key_of(state["normalizer_key"])
        values = self._draw(params, base, key, self.num_draws)[1]
        of_draws = (1 - self.decay) ** 2 * jnp.var(values) / self.num_draws
        new = {
            "normalizer": self.decay * state["normalizer"] + (1 - self.decay) * jnp.mean(values),
            "normalizer_error": jnp.sqrt((self.decay * state["normalizer_error"]) ** 2 + of_draws),
            "normalizer_key": jax.random.key_data(jax.random.split(key)[0]),
        }
        return {**renewed, **{name: value.astype(state[name].dtype) for name, value in new.items()}}


def check_decay(decay: Any) -> None:
    """Raises ValueError unless it is a number in [0, 1)."""
    if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 <= decay < 1:
        raise ValueError(f"Expected `decay` to be a number of at least 0 and below 1; got {decay!r}.")


def mean_with_score(base: distrax.Distribution, z: jax.Array, values: jax.Array) -> jax.Array:
    r"""The mean of f(z) over draws z [S, dim] of a base.

    Its gradient is that of $E_\pi[f(z)]$: that of f(z), and by the score function
    $(f(z) - \bar f) \nabla \log \pi(z)$ that of the base.
    """
    log_density = base.log_prob(z)
    weight = jnp.exp(log_density - jax.lax.stop_gradient(log_density))  # 1, with the score as gradient
    centre = jax.lax.stop_gradient(jnp.mean(values))
    return centre + jnp.mean(weight.astype(values.dtype) * (values - centre))


@jax.custom_jvp
def _with_gradient(value: jax.Array, estimate: jax.Array) -> jax.Array:
    """A value with the gradient of an estimate beside its own; without a gradient the estimate is not computed."""
    del estimate
    return value


@_with_gradient.defjvp
def _with_gradient_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _with_gradient(*primals), tangents[0] + tangents[1]
