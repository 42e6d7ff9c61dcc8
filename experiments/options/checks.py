"""Checks of options that programs share: repeated values, and numbers that do not fit float32 or a seed."""

from typing import Any

import numpy as np

COUNTED_ONCE = ("priors", "refit", "starts", "learning_rates", "betas")
NUM_SEEDS = 2**32  # of `jax.random.key` without 64-bit integers


def check_options(options: Any) -> None:
    """Checks the options that programs share, as far as a program has them.

    Raises:
        ValueError: a prior, start, learning rate or beta that is named twice; seeds outside [0, 2^32).
    """
    for name in COUNTED_ONCE:
        check_distinct(name, getattr(options, name, None) or ())
    if hasattr(options, "seed"):
        check_seeds(options.seed, getattr(options, "seeds", 1))


def check_distinct(name: str, values: tuple[Any, ...]) -> None:
    """Raises ValueError if a value is there twice, to float32: its seeds would be counted as if they were others."""
    seen = [str(np.float32(value)) if isinstance(value, (int, float)) else value for value in values]
    repeated = [value for i, value in enumerate(values) if seen[i] in seen[:i]]
    if repeated:
        raise ValueError(
            f"Expected each value of {flag(name)} once; got {', '.join(map(str, dict.fromkeys(repeated)))} more than "
            "once. Name it once, and raise --seeds for more runs."
        )


def check_seeds(first: int, number: int) -> None:
    """Raises ValueError unless each of `number` seeds from `first` on is another stream of random numbers."""
    if not 0 <= first < NUM_SEEDS:
        raise ValueError(f"Expected 0 <= --seed < 2^32; got {first}.")
    if number > NUM_SEEDS - first:
        raise ValueError(f"Expected --seed + --seeds <= 2^32; got {first} + {number}.")


def check_rate(name: str, value: Any) -> None:
    """Raises ValueError unless one number, or each of several, is above 0 and finite, and so in float32."""
    limits = np.finfo(np.float32)
    values = np.asarray(value, np.float64)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"Expected {flag(name)} > 0 and finite; got {value}.")
    if not ((values >= limits.tiny) & (values <= limits.max)).all():
        raise ValueError(
            f"Expected {flag(name)} from {limits.tiny:.3g} to {limits.max:.3g}; got {value}, which training, in "
            "float32, would take for 0 or infinity."
        )


def flag(name: str) -> str:
    """An option as it is typed."""
    return f"--{name.replace('_', '-')}"
