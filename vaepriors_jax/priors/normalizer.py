"""The normaliser of a reweighted prior: an expectation under a base prior, estimated from draws, in a prior's state."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_key, check_positive_integer
from vaepriors_jax.conditioning import conditions_read
from vaepriors_jax.loops import scan

# Draws for the estimate that `init_state` makes, by default and at a time.
NUM_DRAWS = 2**18
DRAWN_AT_ONCE = 2**14


class Normalizer(NamedTuple):
    r"""$Z = E_\pi[f(z)]$ for samples z of a base prior $\pi$ and a function $f > 0$.

    The state of a prior holds the estimate of Z, its standard error, and a key for the draws of the next step. All
    methods take the parameters of that prior, with an entry `base`.

    Attributes:
        base_prior: $\pi$.
        dim: dimension of z.
        log_function: log f [...] as a function of the parameters and z [..., dim].
        num_draws: number of draws in each step of training.
        decay: weight of the past in the running mean.
    """

    base_prior: Prior
    dim: int
    log_function: Callable[[Any, jax.Array], jax.Array]
    num_draws: int
    decay: float

    def base(self, params: Any, context: Mapping[str, Any]) -> distrax.Distribution:
        """The base distribution, or ValueError if it is of another dimension."""
        base = self.base_prior.apply(params["base"], **context)
        if tuple(base.event_shape) != (self.dim,):
            raise ValueError(
                f"Expected a base prior over vectors of dim={self.dim}; {self.base_prior!r} is over {base.event_shape}."
            )
        return base

    def _draw(self, params: Any, base: distrax.Distribution, key: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
        z = jax.lax.stop_gradient(base.sample(seed=key, sample_shape=count))
        return z, jnp.exp(self.log_function(params, z))

    def value(self, params: Any, context: Mapping[str, Any], value: Any, words: Any) -> jax.Array:
        """The value that the state has for Z, with the gradient of new draws."""
        # An example that an `exemplar` base leaves out would give each example draws of its own.
        base = self.base(params, {name: entry for name, entry in context.items() if name != "index"})
        mean = mean_with_score(base, *self._draw(params, base, key_of(words), self.num_draws))
        return _with_gradient(jnp.asarray(value, mean.dtype), mean)

    def init_state(self, *, params: Any, key: Any = None, num_draws: int = NUM_DRAWS, **data: Any) -> Any:
        """The state of the prior, with that of its base: an estimate from at least `num_draws` draws."""
        check_positive_integer(num_draws=num_draws)
        key = jax.random.key(0) if key is None else check_key(key)
        inner = self.base_prior.init_state
        state = inner(params=params["base"], **data) if inner else {}
        base = self.base(params, {name: data[name] for name in ("encode",) if name in data} | state)
        count = -(-num_draws // DRAWN_AT_ONCE)
        at_once = -(-num_draws // count)

        def step(carry: None, key: jax.Array) -> tuple[None, tuple[jax.Array, jax.Array]]:
            values = self._draw(params, base, key, at_once)[1]
            return carry, (jnp.mean(values), jnp.var(values))

        key_draws, key_next = jax.random.split(key)
        _, (means, variances) = scan(step, None, jax.random.split(key_draws, count), count)
        error = jnp.sqrt((jnp.mean(variances) + jnp.var(means)) / (count * at_once))
        words = jax.random.bits(key_next, (2,), jnp.uint32)
        return {**state, "normalizer": jnp.mean(means), "normalizer_error": error, "normalizer_key": words}

    def update_state(self, state: Any, *, params: Any, **batch: Any) -> Any:
        """The entries that a training step renews: the running mean, its error and the key, and those of the base."""
        inner = self.base_prior.update_state
        renewed = inner(state, params=params["base"], **batch) if inner else {}
        base = self.base(params, {name: batch[name] for name in ("encode",) if name in batch} | state)
        key = key_of(state["normalizer_key"])
        values = self._draw(params, base, key, self.num_draws)[1]
        of_draws = (1 - self.decay) ** 2 * jnp.var(values) / self.num_draws
        new = {
            "normalizer": self.decay * state["normalizer"] + (1 - self.decay) * jnp.mean(values),
            "normalizer_error": jnp.sqrt((self.decay * state["normalizer_error"]) ** 2 + of_draws),
            "normalizer_key": jax.random.key_data(jax.random.split(key)[0]),
        }
        return {**renewed, **{name: value.astype(state[name].dtype) for name, value in new.items()}}


def check_unconditional(base_prior: Prior) -> None:
    """Raises ValueError for a base prior that reads a condition."""
    config = {name: value for name, value in base_prior.config.items() if name != "covariates"}
    if names := sorted({read.name for read in conditions_read(config)}):
        raise ValueError(
            f"Expected a base prior that reads no condition, on which Z would depend; {base_prior!r} reads "
            f"{', '.join(map(repr, names))}. Use `vp.marginalize`, or another base."
        )


def check_decay(decay: Any) -> None:
    """Raises ValueError unless it is a number in [0, 1)."""
    if isinstance(decay, bool) or not isinstance(decay, (int, float)) or not 0 <= decay < 1:
        raise ValueError(f"Expected `decay` to be a number of at least 0 and below 1; got {decay!r}.")


def key_of(words: Any) -> jax.Array:
    """The key whose data the state holds."""
    return jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")


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
