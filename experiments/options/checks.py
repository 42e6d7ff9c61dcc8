"""Checks of options that programs share: their ranges, repeated values, and seeds."""

from dataclasses import fields
from typing import Any

import numpy as np

COUNTED_ONCE = ("priors", "refit", "starts", "learning_rates", "betas")
NUM_SEEDS = 2**32  # of `jax.random.key` without 64-bit integers
MOST_LAYERS = 64  # widths in one option

# The least and the most of each option that counts something, and of each of its values where it takes several.
RANGES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("epochs", "patience"), (1, 10**6)),
    **dict.fromkeys(("warmup_epochs", "cooldown_epochs"), (0, 10**6)),
    **dict.fromkeys(("hidden", "flow_hidden", "channels", "latent_dim"), (1, 10**5)),
    **dict.fromkeys(("num_points", "num_by_class", "num_images", "batch_size"), (1, 10**7)),
    "seeds": (1, 10**3),
    "flow_layers": (1, 10**3),
    "likelihood_components": (1, 10**3),
    "num_components": (1, 10**5),
    "num_samples": (1, 10**7),
    "annealing": (1, 10**6),
    "num_test": (2, 10**7),
    "niceness": (0, 19),
}
RATES = ("learning_rate", "learning_rates", "prior_learning_rate_factor", "betas", "likelihood_scale", "max_minutes")


def check_options(options: Any) -> None:
    """Checks the options that programs share, as far as a program has them and they were not left open.

    Raises:
        ValueError: a number out of its range, an option without values, a value that is there twice, or seeds outside
            [0, 2^32).
    """
    for option in fields(options):
        name, value = option.name, getattr(options, option.name)
        if value is None:
            continue
        if name in RANGES:
            _check_range(name, value)
        if name in RATES:
            _check_rate(name, value)
        if name == "average_decay" and not 0 <= value < 1:
            raise ValueError(f"Expected {flag(name)} from 0, for no average, to below 1, such as 0.99; got {value}.")
        if name in COUNTED_ONCE:
            _check_distinct(name, value, may_be_empty=option.default == () or name == "betas")
    if hasattr(options, "seed"):
        _check_seeds(options.seed, getattr(options, "seeds", 1))


def _check_distinct(name: str, values: tuple[Any, ...], *, may_be_empty: bool) -> None:
    """Raises ValueError if a value is there twice, to float32: its seeds would be counted as if they were others."""
    if not values and not may_be_empty:
        raise ValueError(f"Expected at least one value of {flag(name)}; got none. Leave it out for the default.")
    seen = [str(np.float32(value)) if isinstance(value, (int, float)) else value for value in values]
    repeated = [value for i, value in enumerate(values) if seen[i] in seen[:i]]
    if repeated:
        raise ValueError(
            f"Expected each value of {flag(name)} once; got {', '.join(map(str, dict.fromkeys(repeated)))} more than "
            "once. Name it once, and raise --seeds for more runs."
        )


def _check_range(name: str, value: Any) -> None:
    """Raises ValueError unless a count, or each of several, is within the range of the option."""
    values, (least, most) = value if isinstance(value, tuple) else (value,), RANGES[name]
    shown = tuple(value) if isinstance(value, tuple) else value
    if not values or min(values) < least:
        raise ValueError(f"Expected {flag(name)} >= {least}; got {shown}.")
    if max(values) > most:
        raise ValueError(f"Expected {flag(name)} <= {most:,}; got {shown}.")
    if len(values) > MOST_LAYERS:
        raise ValueError(f"Expected at most {MOST_LAYERS} values of {flag(name)}; got {len(values)}.")


def _check_seeds(first: int, number: int) -> None:
    """Raises ValueError unless each of `number` seeds from `first` on is another stream of random numbers."""
    if not 0 <= first < NUM_SEEDS:
        raise ValueError(f"Expected 0 <= --seed < 2^32; got {first}.")
    if number > NUM_SEEDS - first:
        raise ValueError(f"Expected --seed + --seeds <= 2^32; got {first} + {number}.")


def _check_rate(name: str, value: Any) -> None:
    """Raises ValueError unless one number, or each of several, is above 0 and finite, and so in float32."""
    limits = np.finfo(np.float32)
    values = value if isinstance(value, tuple) else (value,)
    if not all(0 < rate < float("inf") for rate in values):
        raise ValueError(f"Expected {flag(name)} > 0 and finite; got {value}.")
    if not all(float(limits.tiny) <= rate <= float(limits.max) for rate in values):
        raise ValueError(
            f"Expected {flag(name)} from {limits.tiny:.3g} to {limits.max:.3g}; got {value}, which training, in "
            "float32, would take for 0 or infinity."
        )


def flag(name: str) -> str:
    """An option as it is typed."""
    return f"--{name.replace('_', '-')}"
