"""Whether a checkpoint is of a run, by their fingerprints."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vaepriors_jax.objective_options import DEFAULT
from vaepriors_jax.training.fingerprint import FORMAT, Fingerprint
from vaepriors_jax.training.user_functions import IN_TRAINING, NETWORKS

MAX_NAMED = 6  # differences that a message lists
LONGEST = 60  # characters of a value in a message
CALLER = 5  # frames from a warning to the line that called `fit`: check_fingerprint, check, fit and its decorator
RTOL, ATOL = 1e-3, 1e-5  # of values that other versions or another platform give

Values = Mapping[str, list[float | None]]


def check_fingerprint(there: Fingerprint | None, here: Fingerprint, where: str, measure: Callable[[], Values]) -> None:
    """Raises ValueError if a checkpoint is of another run, and names what differs.

    In the same environment functions are compared by their programs; otherwise by the values that they give, with a
    warning.

    Args:
        there: the fingerprint in the checkpoint, or None where it has none.
        here: the fingerprint of this run.
        where: the checkpoint, for messages.
        measure: returns the values that the functions of this run give.
    """
    if there is None:
        _warn(f"The checkpoint in {where} does not tell which run it is of. Training resumes from it unchecked.")
        return
    # Other sizes give other programs, so functions are compared only where nothing else differs.
    differences = _differences(_with_defaults(there["run"]), _with_defaults(here["run"]))
    environment = _differences(there["environment"], here["environment"])
    warning = None
    if not differences and environment:
        elsewhere = f"The checkpoint in {where} was written elsewhere: {'; '.join(environment)}."
        if "values" in there:
            differences = _unequal(there["values"], measure())
            warning = f"{elsewhere} The functions give the same values for one example, within a tolerance."
        else:
            warning = f"{elsewhere} Whether networks, likelihood, optimizer and transform are the same is not checked."
    elif not differences and there.get("format") != FORMAT:
        kept = [*here["functions"].keys() - NETWORKS.keys() - {IN_TRAINING}]
        differences = _differences(*({k: v for k, v in f["functions"].items() if k in kept} for f in (there, here)))
        warning = (
            f"An earlier version wrote the checkpoint in {where}. Whether the networks are the same is not checked."
        )
    elif not differences:
        differences = _differences(there["functions"], here["functions"])
    if differences:
        raise ValueError(_another_run(differences, where))
    if warning:
        _warn(warning)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=CALLER + 1)


def _another_run(differences: list[str], where: str) -> str:
    named = "; ".join(differences[:MAX_NAMED])
    more = f"; and {len(differences) - MAX_NAMED} more" if len(differences) > MAX_NAMED else ""
    return (
        f"Expected a checkpoint of this run in {where}; it is of another run: {named}{more}. "
        "Repeat the arguments of that run, name another folder in `checkpoints`, or move this one away to start anew."
    )


def _with_defaults(run: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same, with the default of an option that was added after it was written."""
    return {**run, **{name: value for name, value in vars(DEFAULT).items() if name not in run}}


def _unequal(there: Values, here: Values) -> list[str]:
    """The functions that give other values, each in words."""
    found = []
    for name in [*there, *(name for name in here if name not in there)]:
        pair = [np.asarray(values.get(name, []), float) for values in (there, here)]
        if pair[0].shape != pair[1].shape:
            found.append(_difference(name, there, here))
        elif not np.allclose(*pair, rtol=RTOL, atol=ATOL, equal_nan=True):
            was, now = (", ".join(f"{value:.4g}" for value in values) for values in pair)
            found.append(f"{name} gave {was}, and gives {now}")
    return found


def _differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs, each in words."""
    names = [*there, *(name for name in here if name not in there)]
    return [_difference(name, there, here) for name in names if there.get(name) != here.get(name)]


def _difference(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    if name not in here:
        return f"{name} was there and is left out"
    if name not in there:
        return f"{name} is added"
    values = [str(side[name]) for side in (there, here)]
    if any(value.startswith("#") or len(value) > LONGEST for value in values):
        return f"{name} differs"
    return f"{name} was {values[0]}, and is {values[1]}"
