"""The configuration of a prior or a flow, the factory's name and arguments: how it is written, compared and hashed."""

from collections.abc import Mapping
from typing import Any

Config = dict[str, Any]


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


def repr_as_call(self: Any) -> str:
    """`__repr__` of what has a `config`: the call that makes it."""
    return format_config(self.config)


def equal_config(self: Any, other: Any) -> bool:
    """`__eq__` by type and `config`."""
    return type(other) is type(self) and _rebuild_key(self.config) == _rebuild_key(other.config)


def unequal_config(self: Any, other: Any) -> bool:
    """`__ne__`: a tuple has one of its own."""
    return not equal_config(self, other)


def hash_config(self: Any) -> int:
    """`__hash__`, the same for equal configurations."""
    return hash(_rebuild_key(self.config))


# Of a prior that is built on another: the latter's configuration, and its parameters.
INNER = {"transformed": ("base_prior", "base"), "two_level": ("top_prior", "top")}


def innermost(config: Config, params: Any = None) -> tuple[Config, Any]:
    """Configuration and parameters of the prior that others are built on: under a flow, or on top of two levels."""
    while config["factory"] in INNER:
        name, entry = INNER[config["factory"]]
        config, params = config[name], params and params[entry]
    return config, params
