"""Keywords of earlier versions: whoever still passes one is told what to pass now."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def moved_keywords(**now: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Makes a decorator: the function then raises a TypeError for a keyword that it no longer takes.

    Args:
        **now: what to pass instead, by keyword.

    Example:
        >>> from vaepriors_jax.moved import moved_keywords
        >>> @moved_keywords(colour="style={'colour': ...}")
        ... def draw(style): ...
        >>> draw(colour="red")
        Traceback (most recent call last):
        TypeError: draw() no longer takes `colour`. Pass `style={'colour': ...}`.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            for name in now.keys() & kwargs:
                raise TypeError(f"{function.__name__}() no longer takes `{name}`. Pass `{now[name]}`.")
            return function(*args, **kwargs)

        return call

    return decorate
