"""A grid of learning rates and betas, trained with all seeds as one program; the validation ELBO chooses."""

from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np

import vaepriors_jax as vp
from experiments.report import results


class Setting(NamedTuple):
    """One place on the grid."""

    learning_rate: float
    beta: float


def settings(learning_rates: tuple[float, ...], betas: tuple[float, ...]) -> list[Setting]:
    """All places on the grid."""
    return [Setting(*pair) for pair in product(learning_rates, betas)]


def best_elbo(result: vp.FitResult) -> np.ndarray:
    """The validation ELBO of each replica's parameters [R]; minus infinity where no epoch was finished."""
    epochs = np.asarray(result.best_epoch)
    elbos = np.asarray(result.history["validation_elbo"])
    return np.where(epochs > 0, elbos[np.arange(len(epochs)), np.maximum(epochs, 1) - 1], -np.inf)


def choose(result: vp.FitResult, grid: list[Setting], num_seeds: int) -> tuple[vp.FitResult, list[dict[str, Any]]]:
    """The replicas of the best setting, and the rows of results.json on all settings.

    The best has the largest validation ELBO (at beta = 1 and the best epoch, mean over seeds), among those with the
    fewest failed seeds. Test images are not used.

    Args:
        result: of `vp.fit` with replicas setting by setting, and seed by seed within one.
        grid: the settings.
        num_seeds: number of seeds.
    """
    failed = {failure.replica for failure in result.failures}
    epochs, elbo = np.asarray(result.best_epoch), best_elbo(result)
    rows = []
    for i, setting in enumerate(grid):
        replicas = [r for r in range(i * num_seeds, (i + 1) * num_seeds) if r not in failed and epochs[r] > 0]
        mean, error = results.mean_and_error(elbo[replicas].tolist()) if replicas else (-np.inf, None)
        row = {"validation_elbo": {"mean": mean, "standard_error": error}, "num_failed": num_seeds - len(replicas)}
        rows.append(setting._asdict() | row | {"best_epochs": [int(epochs[r]) for r in replicas]})
    best = min(range(len(grid)), key=lambda i: (rows[i]["num_failed"], -rows[i]["validation_elbo"]["mean"]))
    for i, row in enumerate(rows):
        row["chosen"] = i == best
    return _of_setting(result, best, num_seeds), rows


def _of_setting(result: vp.FitResult, index: int, num_seeds: int) -> vp.FitResult:
    """The part of a result that belongs to one setting."""
    start, stop = index * num_seeds, (index + 1) * num_seeds

    def take(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[start:stop], tree)

    failures = [f._replace(replica=f.replica - start) for f in result.failures if start <= f.replica < stop]
    return result._replace(
        params=take(result.params),
        state=take(result.state),
        best_epoch=take(result.best_epoch),
        history=take(result.history),
        failures=tuple(failures),
    )
