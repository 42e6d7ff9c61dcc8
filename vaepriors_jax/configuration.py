"""Priors and flows as plain data, and priors and flows made of such data, which may come from anybody's file."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax

from vaepriors_jax.base import Config, Flow, Prior
from vaepriors_jax.factories import find_factory, shapes_of_init

MOST_DEPTH = 16  # of priors, flows and lists within each other
MOST_PIECES = 100  # priors and flows
MOST_SIZE = 10**6  # of one number
MOST_PRODUCT = 2**26  # of the two largest numbers of one prior or flow
MOST_LAYERS = 10**4  # of flows that are repeated, and repeated within each other
MOST_PARAMETERS = 2**28


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


def prior_from_config(config: Config, factories: Iterable[Callable[..., Prior]] = (), *, limited: bool = True) -> Prior:
    """Makes a prior again from its configuration (as it stands, or after a round trip through JSON).

    A configuration from a file cannot ask for much memory or time. Refused are more than 2^28 parameters, 100 priors
    and flows, 10,000 layers or a depth of 16, a number above 10^6, and one prior or flow the two largest numbers of
    which have a product above 2^26.

    Args:
        config: `prior.config`, or what `plain_config` returned.
        factories: factories that the configuration names. Those made with `factory` are known by themselves once their
            module is imported; pass one where two modules have a factory of one name.
        limited: refuse sizes above these limits. A configuration of your own may have any.

    Raises:
        ValueError: the configuration names no known factory, an argument is out of range, or a size above its limit.

    Example:
        >>> import vaepriors_jax as vp
        >>> vp.prior_from_config({"factory": "standard_normal", "dim": 2})
        standard_normal(dim=2)
    """
    made = _from_config(config, factories, limited)
    if not isinstance(made, Prior):
        raise ValueError(f"Expected the configuration of a prior; {made!r} is a flow. Use `flow_from_config`.")
    return made


def flow_from_config(config: Config, factories: Iterable[Callable[..., Flow]] = (), *, limited: bool = True) -> Flow:
    """Makes a flow again from its configuration; see `prior_from_config`."""
    made = _from_config(config, factories, limited)
    if not isinstance(made, Flow):
        raise ValueError(f"Expected the configuration of a flow; {made!r} is a prior. Use `prior_from_config`.")
    return made


def _from_config(config: Config, factories: Iterable[Callable[..., Any]], limited: bool) -> Any:
    if not (isinstance(config, Mapping) and "factory" in config):
        got = sorted(map(str, config)) if isinstance(config, Mapping) else type(config).__name__
        raise ValueError(f"Expected a configuration with the key 'factory', as in `prior.config`; got {got}.")
    if not limited:
        return _build(config, factories)
    _check_numbers(config)
    made = _build(config, factories)
    size = sum(leaf.size for leaf in jax.tree.leaves(_shapes_of_init(made)))
    _check_limit("parameters", size, MOST_PARAMETERS)
    return made


def _build(value: Any, factories: Iterable[Callable[..., Any]]) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_build(item, factories) for item in value)
    if not (isinstance(value, Mapping) and "factory" in value):
        return value
    name = value["factory"]
    make = next((function for function in factories if function.__name__ == name), None) or find_factory(name)
    named = {key: _build(item, factories) for key, item in value.items() if key not in ("factory", "*")}
    try:
        return make(*_build(value.get("*", ()), factories), **named)
    except ValueError:
        raise
    except Exception as error:  # whatever a factory makes of arguments of another kind
        raise ValueError(
            f"Expected arguments of `{name}` in a configuration; those that came do not fit: {error}"
        ) from error


def _shapes_of_init(made: Prior | Flow) -> Any:
    try:
        return shapes_of_init(made)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"Expected the configuration of a prior or flow whose `init` runs: {error}") from error


def _check_limit(what: str, number: int, most: int) -> None:
    if number > most:
        raise ValueError(
            f"Expected at most {most:,} {what} in a configuration; got {number:,}. Pass `limited=False` if it is your "
            "own, or make the prior by its factory, and pass it to `load_model` as `prior=`."
        )


def _check_numbers(config: Config) -> None:
    """Raises ValueError for a configuration that would take much memory or time, before anything is made of it."""
    pieces = list(itertools.islice(_pieces(config), MOST_PIECES + 1))
    _check_limit("priors and flows", len(pieces), MOST_PIECES)
    for piece, num_layers in pieces:
        sizes = sorted(_sizes(list(piece.values())), reverse=True)
        _check_limit("as a number", max(sizes, default=0), MOST_SIZE)
        _check_limit("as the product of two numbers of one prior or flow", math.prod(sizes[:2]), MOST_PRODUCT)
        _check_limit("layers", num_layers, MOST_LAYERS)


def _pieces(value: Any, num_layers: int = 1, depth: int = 1) -> Iterator[tuple[Mapping[str, Any], int]]:
    """Yields the configuration of each prior and flow within one, itself first, and how often it is repeated."""
    _check_limit("levels", depth, MOST_DEPTH)
    if isinstance(value, Mapping):
        if isinstance(own := value.get("num_layers"), int):
            num_layers *= max(1, own)
        yield value, num_layers
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            if isinstance(item, (Mapping, list, tuple)):
                yield from _pieces(item, num_layers, depth + 1)


def _sizes(value: Any) -> Iterator[int]:
    """Yields the integers of a configuration, without those of priors and flows within it."""
    if isinstance(value, int):
        yield abs(value)
    elif isinstance(value, (list, tuple)):
        for item in value:
            if not isinstance(item, Mapping):
                yield from _sizes(item)
