"""Warnings of training with the prior and the seed in place of the replica's number."""

import re
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

from experiments.options.settings import Settings
from experiments.training import grid


def names_prior_and_seed(train: Callable[..., Any]) -> Callable[..., Any]:
    """Makes `train(name, config, ...)` print what `vp.fit` warns of as one line for each warning."""

    @wraps(train)
    def named(name: str, config: Settings, *arguments: Any, **options: Any) -> Any:
        with warnings.catch_warnings():
            show = warnings.showwarning

            def show_named(message: Any, category: type[Warning], *place: Any, **where: Any) -> None:
                if category is RuntimeWarning:
                    print(f"{name}, {_with_seeds(str(message), config)}", file=sys.stderr)
                else:
                    show(message, category, *place, **where)

            warnings.showwarning = show_named
            return train(name, config, *arguments, **options)

    return named


def _with_seeds(message: str, config: Settings) -> str:
    """A message that starts with the numbers of replicas, with seeds, and with settings where there are several."""
    settings = grid.settings(config.all_learning_rates, config.betas)

    def seed_of(number: re.Match[str]) -> str:
        setting, seed = divmod(int(number[0]), config.seeds)
        rate, beta = settings[setting].learning_rate, settings[setting].beta
        of_setting = f" (learning rate {rate:g}, beta {beta:g})" if len(settings) > 1 else ""
        return f"{config.seed + seed}{of_setting}"

    start = re.match(r"replicas? \d+(, \d+)*", message)
    if start is None:
        return message
    return re.sub(r"\d+", seed_of, start[0].replace("replica", "seed")) + message[start.end() :]
