"""Priors and flows as pairs of pure functions, `init` and `apply`, in the manner of optax.

A prior's `apply` returns a distrax distribution over one latent vector z [dim]. Build and use a distribution inside one
trace: pass arrays, not distributions, through `jit`, `vmap` and `scan`.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

Config = dict[str, Any]


def _rebuild_key(value: Any) -> Any:
    """A hashable form of a configuration value; objects of the user are compared by identity."""
    if isinstance(value, Mapping):
        return tuple((name, _rebuild_key(item)) for name, item in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(_rebuild_key(item) for item in value)
    return value if isinstance(value, (bool, int, float, str, type(None))) else id(value)


def format_config(config: Any) -> str:
    """Writes a configuration as the call that makes it."""
    if not (isinstance(config, Mapping) and "factory" in config):
        return getattr(config, "__name__", repr(config)) if callable(config) else repr(config)
    named = {name: value for name, value in config.items() if name not in ("factory", "*")}
    arguments = [*map(format_config, config.get("*", ())), *(f"{k}={format_config(v)}" for k, v in named.items())]
    return f"{config['factory']}({', '.join(arguments)})"


def _same_config(made: Any, other: Any) -> bool:
    return type(other) is type(made) and _rebuild_key(other.config) == _rebuild_key(made.config)


Params = Any


class Init(Protocol):
    """Makes parameters from a key alone, as Linen's parameter initialisers do."""

    def __call__(self, key: jax.Array, /) -> Params:
        """Returns nested dicts of float arrays."""
        ...


class PriorApply(Protocol):
    """Makes the distribution p(z) or p(z|context).

    The extra arguments are spelled so that type checkers take any function whose first argument is the parameters.
    """

    def __call__(self, params: Params, /, *args: Any, **kwargs: Any) -> Any:
        """Returns a distribution over z [dim].

        Args:
            params: what `init` returned, or a tree like it.
            *args: none are passed.
            **kwargs: the context, by name. A prior names the context that it reads and ignores the rest. A `VAE` passes
                `encode`, the encoder with its parameters, and the entries of one example beside `x`, such as `y`.
        """
        ...


class InitFromData(Protocol):
    """Makes parameters from a key and data."""

    def __call__(self, key: jax.Array, /, **data: Any) -> Params:
        """Returns parameters like those of `init`.

        Args:
            key: a random key.
            **data: a prior names the data that it reads and ignores the rest: encodings `z` [N, dim], training examples
                `x` [N, ...], labels `y` [N], or other per-example context. Data that it requires have no default.
        """
        ...


class InitState(Protocol):
    """Makes the state of a prior, for one that has some."""

    def __call__(self, **data: Any) -> Any:
        """Returns a dict of arrays, which `apply` gets as context by their names.

        Args:
            **data: `encode`, the encoder with its parameters, `params`, the prior's own parameters, and data such as
                training examples `x` [N, ...]. A prior names what it reads and ignores the rest.
        """
        ...


class UpdateState(Protocol):
    """Renews the state of a prior after a training step."""

    def __call__(self, state: Any, /, **batch: Any) -> Any:
        """Returns the entries of the state that change, {} for none.

        Args:
            state: the state before the step.
            **batch: `encode`, the encoder with its parameters before the step, `params`, the prior's own parameters
                before the step, and the entries of the batch, such as `x` [B, ...].
        """
        ...


class LogHyperprior(Protocol):
    """The log-density of the prior's parameters, for maximum a posteriori estimation of them."""

    def __call__(self, params: Params, /) -> jax.Array:
        """Returns the log-density, divided by the number of training examples: a scalar in nats per example."""
        ...


class FlowApply(Protocol):
    """Makes the bijector z = f(u)."""

    def __call__(self, params: Params, /, *args: Any, **kwargs: Any) -> Any:
        """Returns a bijector of vectors [dim]; `forward` goes from the base variable u to z."""
        ...


class Prior(NamedTuple):
    """A prior p(z): two pure functions, and the configuration that makes them.

    Two priors with the same configuration are equal, `repr` reads like the call, and `prior_from_config` makes a prior
    again from `config`.

    Attributes:
        init: makes parameters from a key.
        apply: makes the distribution over z from parameters and context.
        config: the factory's name and arguments; `factory` fills it.
        init_from_data: makes parameters from data, for a prior that can start from data; see `vp.init_from_data`.
        inner: the prior that this one wraps, if it wraps one.
        init_state: makes the state, for a prior that has some; see `vp.init_prior_state`. The optimiser does not move
            it.
        update_state: renews the state after each training step, for a prior whose state changes.
        log_hyperprior: a term of the parameters alone that training adds to the objective of each example, such as the
            log-density of a Dirichlet process over weights. It is no part of the ELBO.

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> prior = vp.mixture(2, num_components=3)
        >>> prior
        mixture(dim=2, num_components=3)
        >>> params = prior.init(jax.random.key(0))
        >>> prior.apply(params).sample(seed=jax.random.key(1)).shape
        (2,)
    """

    init: Init
    apply: PriorApply
    config: Config
    init_from_data: InitFromData | None = None
    inner: "Inner | None" = None
    init_state: InitState | None = None
    update_state: UpdateState | None = None
    log_hyperprior: LogHyperprior | None = None

    def __repr__(self) -> str:
        return format_config(self.config)

    def __eq__(self, other: object) -> bool:
        return _same_config(self, other)

    def __ne__(self, other: object) -> bool:  # a tuple has one of its own
        return not _same_config(self, other)

    def __hash__(self) -> int:
        return hash(_rebuild_key(self.config))


class Inner(NamedTuple):
    """The prior that another one wraps.

    Attributes:
        prior: the wrapped prior.
        entry: where its parameters are among those of the other: the name of an entry, None if they are the same, or a
            function that makes them of those of the other.
    """

    prior: Prior
    entry: str | Callable[[Params], Params] | None = None

    def params(self, params: Params) -> Params:
        """The parameters of the wrapped prior, given those of the other."""
        if callable(self.entry):
            return self.entry(params)
        return params if self.entry is None else params[self.entry]

    def init_state(self, context: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> InitState | None:
        """The `init_state` of what wraps the prior: that of the prior, with its part of the parameters.

        `context` makes what the prior reads of what the other one reads.
        """
        inner = self.prior.init_state
        if inner is None:
            return None
        return lambda *, params, **data: inner(params=self.params(params), **context(data))

    def update_state(self, context: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> UpdateState | None:
        """The `update_state` of what wraps the prior, as `init_state`."""
        inner = self.prior.update_state
        if inner is None:
            return None
        return lambda state, *, params, **batch: inner(state, params=self.params(params), **context(batch))


def hyperprior_of(inner: Inner) -> LogHyperprior | None:
    """The `log_hyperprior` of a prior that wraps another: that of the other, if it has one."""
    log_hyperprior = inner.prior.log_hyperprior
    return None if log_hyperprior is None else lambda params: log_hyperprior(inner.params(params))


def chain_of(prior: Prior) -> Iterator[Prior]:
    """Yields a prior, the prior that it wraps, and so on."""
    yield prior
    while prior.inner is not None:
        prior = prior.inner.prior
        yield prior


def innermost(prior: Prior, params: Params) -> tuple[Prior, Params]:
    """Returns the prior at the bottom of all that wrap others, and its part of the parameters.

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> from vaepriors_jax.base import innermost
        >>> prior = vp.transformed(vp.mixture(2, 3), vp.affine_coupling(2))
        >>> base, params = innermost(prior, prior.init(jax.random.key(0)))
        >>> base, sorted(params)
        (mixture(dim=2, num_components=3), ['loc', 'log_scale', 'logits'])
    """
    while prior.inner is not None:
        params, prior = prior.inner.params(params), prior.inner.prior
    return prior, params


class Flow(NamedTuple):
    """An invertible map z = f(u): like `Prior`, but `apply` gives a distrax bijector of vectors [dim].

    Attributes:
        init: makes parameters from a key.
        apply: makes the bijector from parameters and context; `forward` goes from u to z.
        config: the factory's name and arguments; `factory` fills it.
        init_from_data: makes parameters from data z [N, dim] and per-example context, for a flow that can start from
            data; `vp.init_from_data` of a flow prior calls it.
    """

    init: Init
    apply: FlowApply
    config: Config
    init_from_data: InitFromData | None = None

    def __repr__(self) -> str:
        return format_config(self.config)

    def __eq__(self, other: object) -> bool:
        return _same_config(self, other)

    def __ne__(self, other: object) -> bool:  # a tuple has one of its own
        return not _same_config(self, other)

    def __hash__(self) -> int:
        return hash(_rebuild_key(self.config))


def pull_back(flow: Flow, params: Params, z: Any, data: Mapping[str, Any]) -> jax.Array:
    """Returns the u [N, dim] that a flow maps to z [N, dim]; it reads the data [N, ...] beside `x` as context."""
    context = {name: value for name, value in data.items() if name != "x"}

    def inverse(z: jax.Array, context: Mapping[str, Any]) -> jax.Array:
        return flow.apply(params, **context).inverse(z)

    return jax.vmap(inverse)(jnp.asarray(z, jax.dtypes.canonicalize_dtype(float)), context)
