"""A positive function of the samples of a base prior: what priors with an estimated normaliser have in common."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Inner, Prior, PriorApply, hyperprior_of
from vaepriors_jax.conditioning import Conditioner, conditions_read
from vaepriors_jax.priors.init_from_data import init_from_data

# Samples of the base for the estimate that `init_state` makes, by default and at a time.
NUM_DRAWS = 2**18
DRAWN_AT_ONCE = 2**14


class Weighting(NamedTuple):
    r"""A base prior $\pi$ and a function $f > 0$ of its samples.

    Its methods take the parameters of the prior that is made of the two, with an entry `base`.

    Attributes:
        base_prior: $\pi$.
        dim: dimension of z.
        log_function: log f [...] as a function of the parameters and z [..., dim].
    """

    base_prior: Prior
    dim: int
    log_function: Callable[[Any, jax.Array], jax.Array]

    def base(self, params: Any, context: Mapping[str, Any]) -> distrax.Distribution:
        """The base distribution, or ValueError if it is of another dimension."""
        base = self.base_prior.apply(params["base"], **context)
        if tuple(base.event_shape) != (self.dim,):
            raise ValueError(
                f"Expected a base prior over vectors of dim={self.dim}; {self.base_prior!r} is over {base.event_shape}."
            )
        return base

    def shared_base(self, params: Any, context: Mapping[str, Any]) -> distrax.Distribution:
        """The base distribution without the example that an `exemplar` base leaves out: the same for all examples."""
        return self.base(params, {name: entry for name, entry in context.items() if name != "index"})

    def start(self, params: Any, data: Mapping[str, Any]) -> tuple[Any, distrax.Distribution]:
        """The state of the base prior, made of data, and the base distribution."""
        make = self.base_prior.init_state
        state = make(params=params["base"], **data) if make else {}
        return state, self.base(params, {name: data[name] for name in ("encode",) if name in data} | state)

    def renewed(self, state: Any, params: Any, batch: Mapping[str, Any]) -> tuple[Any, distrax.Distribution]:
        """What a training step renews of the base prior's state, and the base distribution."""
        update = self.base_prior.update_state
        entries = update(state, params=params["base"], **batch) if update else {}
        return entries, self.base(params, {name: batch[name] for name in ("encode",) if name in batch} | state)

    def joined(self, state: Any, own: Any) -> Any:
        """The state of the base prior and the entries of its own, or ValueError if they have the same names."""
        if state.keys() & own.keys():
            raise ValueError(
                f"Expected a base prior without a normaliser of its own; {self.base_prior!r} has one in its state."
            )
        return {**state, **own}


def weighted_prior(weighting: Weighting, network: Conditioner, name: str, apply: PriorApply, state: Any) -> Prior:
    """A prior of a base prior and a network, with the network's parameters as the entry `name` beside `base`.

    `state` has the methods `init_state` and `update_state`.
    """
    base_prior = weighting.base_prior

    def init(key: jax.Array) -> Any:
        key_base, key_network = jax.random.split(key)
        params = network.init(key_network, jnp.zeros(weighting.dim))["params"]
        return {"base": base_prior.init(key_base), name: params}

    def start(key: jax.Array, **data: Any) -> Any:
        return init(key) | {"base": init_from_data(base_prior, key, **data)}

    inner, starts = Inner(base_prior, "base"), start if base_prior.init_from_data else None
    return Prior(init, apply, {}, starts, inner, state.init_state, state.update_state, hyperprior_of(inner))


def check_unconditional(base_prior: Prior) -> None:
    """Raises ValueError for a base prior that reads a condition."""
    config = {name: value for name, value in base_prior.config.items() if name != "covariates"}
    if names := sorted({read.name for read in conditions_read(config)}):
        raise ValueError(
            "Expected a base prior that reads no condition, on which its normaliser would depend; "
            f"{base_prior!r} reads {', '.join(map(repr, names))}. Use `vp.marginalize`, or another base."
        )


def key_of(words: Any) -> jax.Array:
    """The key whose data the state holds."""
    return jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")
