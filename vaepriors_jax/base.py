"""What a prior, a flow and a VAE are: pairs of pure functions, in the manner of optax.

A prior's `apply` gives back an ordinary distrax distribution over one latent vector z [dim]. Distributions never cross
a `jit`, `vmap` or `scan` boundary (arrays do): build and use one inside one trace.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import distrax
import jax

from vaepriors_jax.distributions import normalize_posterior

Params = Any
Config = dict[str, Any]

# Context that belongs to the whole batch. All other context is per example and is mapped beside x.
SHARED_CONTEXT = ("encode", "key", "data")


class Init(Protocol):
    """Makes parameters from a key and nothing else, so that it is a Linen parameter initialiser too."""

    def __call__(self, key: jax.Array, /) -> Params:
        """Returns nested dicts of float arrays, and nothing else."""
        ...


class PriorApply(Protocol):
    """Makes the distribution p(z) or p(z|context)."""

    def __call__(self, params: Params, /, **context: Any) -> distrax.Distribution:
        """Returns a distribution over z [dim].

        Args:
            params: what `init` returned, or a tree like it.
            **context: a prior names the context that it reads and ignores the rest. Per example: `y` (or whatever else
                is in the batch beside `x`). Shared by the batch: `encode`, `key`, `data`.
        """
        ...


class FlowApply(Protocol):
    """Makes the bijector z = f(u)."""

    def __call__(self, params: Params, /, **context: Any) -> distrax.Bijector:
        """Returns a bijector of vectors [dim]; `forward` goes from the base variable u to z."""
        ...


def _rebuild_key(value: Any) -> Any:
    """A hashable stand-in for a configuration value; the user's own objects count by identity."""
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


def _repr_as_call(self: Any) -> str:
    return format_config(self.config)


def _equal_config(self: Any, other: Any) -> bool:
    return type(other) is type(self) and _rebuild_key(self.config) == _rebuild_key(other.config)


def _unequal_config(self: Any, other: Any) -> bool:
    return not _equal_config(self, other)


def _hash_config(self: Any) -> int:
    return hash(_rebuild_key(self.config))


class Prior(NamedTuple):
    """A prior p(z): two pure functions, and the configuration that makes them.

    Two priors with the same configuration are equal, `repr` reads like the call, and `prior_from_config` makes a prior
    again from `config`.

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

    __repr__ = _repr_as_call
    __eq__ = _equal_config
    __ne__ = _unequal_config
    __hash__ = _hash_config


class Flow(NamedTuple):
    """An invertible map z = f(u): like `Prior`, but `apply` gives a distrax bijector of vectors [dim]."""

    init: Init
    apply: FlowApply
    config: Config

    __repr__ = _repr_as_call
    __eq__ = _equal_config
    __ne__ = _unequal_config
    __hash__ = _hash_config


def _requiring_context(apply: Callable[..., Any], config: Config) -> Callable[..., Any]:
    """Names the context that an `apply` reads when it is missing."""
    parameters = inspect.signature(apply).parameters.values()
    required = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]

    @functools.wraps(apply)
    def checked(params: Params, /, **context: Any) -> Any:
        if missing := [name for name in required if name not in context]:
            raise TypeError(
                f"{format_config(config)} reads the context {', '.join(map(repr, missing))}, which is missing. A VAE "
                "passes `encode`; per-example context, such as `y`, is an entry of the batch beside 'x', or a keyword "
                "argument."
            )
        return apply(params, **context)

    return checked if required else apply


P = ParamSpec("P")
R = TypeVar("R", Prior, Flow)


def factory(make: Callable[P, R]) -> Callable[P, R]:
    """Records the arguments of a factory in the `config` of the prior or flow that it makes.

    Arguments that are left at their default are left out; a list of positional ones (`chain`) is named "*". A prior or
    flow among the arguments goes in by its own configuration. Arrays and functions go in as they are: such a
    configuration is not plain data (see `plain_config`).

    The decorated function may leave `config` empty: `return Prior(init, apply, {})`.
    """
    signature = inspect.signature(make)

    @functools.wraps(make)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        made = make(*args, **kwargs)
        config: Config = {"factory": make.__name__}
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if isinstance(value, (Prior, Flow)):
                value = value.config
            elif isinstance(value, (list, tuple)):
                value = tuple(item.config if isinstance(item, (Prior, Flow)) else item for item in value)
            if signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
                name = "*"
            default = inspect.Parameter.empty if name == "*" else signature.parameters[name].default
            if default is inspect.Parameter.empty or value is not default and value != default:
                config[name] = value
        return made._replace(config=config, apply=_requiring_context(made.apply, config))

    vars(wrapped)["is_factory"] = True
    return wrapped


# Of a prior that is built on another: the latter's configuration, and its parameters.
INNER = {"transformed": ("base_prior", "base"), "two_level": ("top_prior", "top")}


def innermost(config: Config, params: Any = None) -> tuple[Config, Any]:
    """Configuration and parameters of the prior that others are built on: under a flow, or on top of two levels."""
    while config["factory"] in INNER:
        name, entry = INNER[config["factory"]]
        config, params = config[name], params and params[entry]
    return config, params


def plain_config(prior: Prior | Flow) -> Config:
    """Returns the configuration as plain data that JSON can hold.

    Raises:
        ValueError: the prior holds a function, an array or another object of the user's.
    """

    def plain(value: Any, where: str) -> Any:
        if isinstance(value, Mapping):
            return {name: plain(item, f"{where}.{name}") for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item, where) for item in value]
        if isinstance(value, (bool, int, float, str, type(None))):
            return value
        raise ValueError(
            f"Expected plain data in the configuration of {prior!r}; `{where}` is {type(value).__name__}, which cannot "
            "be written to a file. Keep the call that makes the prior, and pass `prior=` when loading."
        )

    return plain(prior.config, prior.config["factory"])


def _from_config(config: Config, factories: Iterable[Callable[..., Any]]) -> Any:
    import vaepriors_jax

    named = {name: getattr(vaepriors_jax, name) for name in vaepriors_jax.__all__}
    named |= {function.__name__: function for function in factories}
    known = {name: function for name, function in named.items() if getattr(function, "is_factory", False)}

    def build(value: Any) -> Any:
        if isinstance(value, Mapping) and "factory" in value:
            if value["factory"] not in known:
                raise ValueError(
                    f"Expected a factory among {', '.join(sorted(known))}; got {value['factory']!r}. "
                    "Pass your own factories as `factories=(my_prior,)`."
                )
            named = {name: build(item) for name, item in value.items() if name not in ("factory", "*")}
            return known[value["factory"]](*build(value.get("*", ())), **named)
        return tuple(build(item) for item in value) if isinstance(value, (list, tuple)) else value

    if not (isinstance(config, Mapping) and "factory" in config):
        raise ValueError(f"Expected a configuration with the key 'factory', as in `prior.config`; got {config!r}.")
    return build(config)


def prior_from_config(config: Config, factories: Iterable[Callable[..., Prior]] = ()) -> Prior:
    """Makes a prior again from its configuration (as it stands, or after a round trip through JSON).

    Args:
        config: `prior.config`, or what `plain_config` returned.
        factories: factories of your own, made with `factory`, that the configuration names.

    Raises:
        ValueError: the configuration names no known factory, or an argument is out of range.

    Example:
        >>> import vaepriors_jax as vp
        >>> vp.prior_from_config({"factory": "standard_normal", "dim": 2})
        standard_normal(dim=2)
    """
    made = _from_config(config, factories)
    if not isinstance(made, Prior):
        raise ValueError(f"Expected the configuration of a prior; {made!r} is a flow. Use `flow_from_config`.")
    return made


def flow_from_config(config: Config, factories: Iterable[Callable[..., Flow]] = ()) -> Flow:
    """Makes a flow again from its configuration; see `prior_from_config`."""
    made = _from_config(config, factories)
    if not isinstance(made, Flow):
        raise ValueError(f"Expected the configuration of a flow; {made!r} is a prior. Use `prior_from_config`.")
    return made


class Network(Protocol):
    """An encoder or decoder for one example, such as the `apply` of a Linen module."""

    def __call__(self, params: Params, inputs: jax.Array, /, **context: Any) -> distrax.Distribution:
        """Encoder: x to q(z|x) over z [dim]. Decoder: z [dim] to p(x|z) over an x of the data's shape."""
        ...


class VAEParams(NamedTuple):
    """The parameters of a VAE."""

    encoder: Params
    decoder: Params
    prior: Params


class VAE(NamedTuple):
    """A variational autoencoder: an encoder q(z|x), a decoder p(x|z) and a prior p(z).

    Attributes:
        encode: `encode(params, x)` gives the distribution q(z|x) over z [dim] for one example x.
        decode: `decode(params, z)` gives the distribution p(x|z) for one z [dim].
        prior: the prior p(z).
        encoder_context: names of per-example context that the encoder reads, passed by keyword, such as `("y",)`.
        decoder_context: the same for the decoder.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(params["weight"] @ x, jnp.ones(2)),
        ...     decode=lambda params, z: vp.normal_diag(params["weight"] @ z, jnp.ones(3)),
        ...     prior=vp.standard_normal(2),
        ... )
        >>> params = vp.VAEParams({"weight": jnp.ones((2, 3))}, {"weight": jnp.ones((3, 2))}, {})
        >>> vae.posterior(params, jnp.ones(3)).mean()
        Array([3., 3.], dtype=float32)
        >>> vp.generate(vae, params, jax.random.key(0), 5).shape
        (5, 3)
    """

    encode: Network
    decode: Network
    prior: Prior
    encoder_context: tuple[str, ...] = ()
    decoder_context: tuple[str, ...] = ()

    def posterior(self, params: VAEParams, x: jax.Array, **context: Any) -> distrax.Distribution:
        """Returns q(z|x) for one example."""
        read = _select(context, self.encoder_context, "encoder")
        return normalize_posterior(self.encode(params.encoder, x, **read))

    def likelihood(self, params: VAEParams, z: jax.Array, **context: Any) -> distrax.Distribution:
        """Returns p(x|z) for one z [dim]."""
        return self.decode(params.decoder, z, **_select(context, self.decoder_context, "decoder"))

    def latent_prior(self, params: VAEParams, **context: Any) -> distrax.Distribution:
        """Returns p(z), with the encoder at hand for priors that read it."""

        def encode(x: jax.Array, **encoder_context: Any) -> distrax.Distribution:
            return self.posterior(params, x, **encoder_context)

        return self.prior.apply(params.prior, **({"encode": encode} | context))


def _select(context: Mapping[str, Any], names: tuple[str, ...], reader: str) -> dict[str, Any]:
    missing = [name for name in names if name not in context]
    if missing:
        raise TypeError(
            f"The {reader} reads the context {names}; missing: {', '.join(map(repr, missing))}. Pass it by keyword, or "
            "as an entry of the batch."
        )
    return {name: context[name] for name in names}


def split_context(context: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits context into what belongs to each example and what the whole batch shares."""
    shared = {name: value for name, value in context.items() if name in SHARED_CONTEXT}
    return {name: value for name, value in context.items() if name not in SHARED_CONTEXT}, shared


def generate(
    vae: VAE, params: VAEParams, key: jax.Array, num_samples: int, *, mean: bool = True, **context: Any
) -> jax.Array:
    """Generates data: z from the VAE's own prior, then p(x|z).

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        num_samples: how many examples.
        mean: give the means of p(x|z), which look smoother than data; False draws from it.
        **context: one value for all samples, such as `y=3`.

    Returns:
        Examples [num_samples, ...].
    """
    key_z, key_x = jax.random.split(key)
    z = vae.latent_prior(params, **context).sample(seed=key_z, sample_shape=num_samples)

    def one(z: jax.Array, key: jax.Array) -> jax.Array:
        likelihood = vae.likelihood(params, z, **context)
        return likelihood.mean() if mean else likelihood.sample(seed=key)

    return jax.vmap(one)(z, jax.random.split(key_x, num_samples))
