"""Values that nobody means, and changes of plain data."""

from collections.abc import Iterator
from typing import Any

import numpy as np

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    3,
    10**9,
    10**30,
    -(10**30),
    0.0,
    1.5,
    -1e308,
    float("nan"),
    float("inf"),
    "",
    "3",
    "nonsense",
    "\x1b[2J",
    "../..",
    "os:abort",
    [],
    [0],
    [3, 3],
    [[3]],
    {},
    {"factory": "mixture"},
    {"a": 1},
)


def choose(rng: np.random.Generator, values: Any) -> Any:
    """One of several values, as it is."""
    return values[int(rng.integers(len(values)))]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value within plain data, containers among them."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield (*path, name)
        yield from places(item, (*path, name))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Plain data with another value in one place."""
    if not path:
        return new
    first, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[first] = replaced(copy[first], tuple(rest), new)
    return copy


def damaged(rng: np.random.Generator, content: bytes) -> bytes:
    """A file that is cut, has a bit flipped, zeros written, bytes inserted, or is something else."""
    at = int(rng.integers(max(1, len(content))))
    kind = int(rng.integers(5))
    if kind == 0:
        return content[:at]
    if kind == 1:
        flipped = bytes([content[at] ^ (1 << int(rng.integers(8)))]) if content else b"x"
        return content[:at] + flipped + content[at + 1 :]
    if kind == 2:
        zeros = bytes(min(64, len(content) - at))
        return content[:at] + (zeros if any(content[at : at + 64]) else b"\xff" * len(zeros)) + content[at + 64 :]
    if kind == 3:
        return content[:at] + rng.bytes(7) + content[at:]
    return rng.bytes(100)
