"""Options as a result file holds them, checked like those of a command line."""

from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from experiments.options.checks import check_options

Options = TypeVar("Options")


def read_options(kind: type[Options], stored: Any) -> Options:
    """Makes options from plain data, in which lists stand for tuples.

    Args:
        kind: the class of the options, a dataclass.
        stored: values by name; those that are missing have their default.

    Raises:
        ValueError: a name that is no option, a value of another type, or one that the command line would not take.
    """
    types = get_type_hints(kind)
    known = {field.name for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    if not isinstance(stored, Mapping) or not stored.keys() <= known:
        got = sorted(map(str, stored.keys() - known)) if isinstance(stored, Mapping) else type(stored).__name__
        raise ValueError(f"Expected options of {kind.__name__} by name; got {got}.")
    for name, value in stored.items():
        if not has_type(value, types[name]):
            raise ValueError(f"Expected the option {name!r} to be of the type {_in_words(types[name])}; got {value!r}.")
    options = kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()})
    check_options(options)
    return options


def has_type(value: Any, hint: Any) -> bool:
    """Tells whether plain data are of a type, with lists for tuples and integers for floats."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in arguments)
    if origin in (Union, UnionType):
        return any(has_type(value, choice) for choice in arguments)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            return False
        if arguments[-1] is ...:
            return all(has_type(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(has_type, value, arguments))
    return type(value) in ((float, int) if hint is float else (hint,))


def _in_words(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint).replace("typing.", "")
