"""Starts of pseudo-inputs from data: at training examples, or at centres of k-means."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vaepriors_jax.checks import check_choice
from vaepriors_jax.priors.init_from_data import k_means, rows_by_class

# Examples of a class that k-means reads; more would take minutes for hundreds of clusters of images.
MOST_CLUSTERED = 10_000

Groups = list[tuple[np.ndarray, int]]  # of each class the places of its examples, and the number of its components


class Start(NamedTuple):
    """Where the components of a `vamp` start.

    Attributes:
        inputs: pseudo-inputs [K, ...].
        logits: log-weights [K], up to a constant.
        rows: the places of the examples [K] that they are; -1 for centres.
    """

    inputs: np.ndarray
    logits: np.ndarray
    rows: np.ndarray


def check_start(start: str, covariates: Mapping[str, Any]) -> None:
    """Raises ValueError for an unknown start from data, or one at centres, which have no covariates."""
    check_choice("start", start, ("examples", "k-means"))
    if start == "k-means" and covariates:
        raise ValueError(
            f'Expected `start="examples"` with covariates, here {", ".join(covariates)}: a centre of k-means has none.'
        )


def rows_of_classes(num_examples: int, data: Mapping[str, Any], condition: str | None, classes: np.ndarray) -> Groups:
    """The examples and the number of components of each class; one class without a `condition`."""
    groups, counts = [np.arange(num_examples)], np.bincount(classes)
    if condition is not None:
        groups = rows_by_class(groups[0], data.get(condition), len(counts), condition)
    found = [len(group) for group in groups]
    if any(size < count for size, count in zip(found, counts, strict=True)):
        needed, got = counts[0], found[0]
        if condition is not None:
            needed, got = f"{counts.tolist()} by class", f"{found} by class"
        raise ValueError(
            f"Expected at least as many examples as pseudo-inputs, {needed}; got {got}. Take fewer components."
        )
    return list(zip(groups, counts.tolist(), strict=True))


def find_start(start: str, x: np.ndarray, groups: Groups, generator: np.random.Generator) -> Start:
    """The start at "examples" x [N, ...] or at "k-means"."""
    return (_at_centres if start == "k-means" else _at_examples)(x, groups, generator)


def _at_examples(x: np.ndarray, groups: Groups, generator: np.random.Generator) -> Start:
    """Examples of each class, drawn without replacement, with equal weights."""
    rows = np.concatenate([rows[generator.choice(len(rows), count, replace=False)] for rows, count in groups])
    return Start(x[rows], np.zeros(len(rows)), rows)


def far_apart(values: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Rows [count, D] of values [N, D] by k-means++: each is drawn by its squared distance to those before it.

    SciPy's does the same, but measures all distances again for each row.
    """
    squares = np.sum(values**2, axis=1)
    chosen, nearest = [int(generator.integers(len(values)))], np.full(len(values), np.inf)
    for _ in range(count - 1):
        last = values[chosen[-1]]
        nearest = np.minimum(nearest, np.maximum(squares - 2 * values @ last + last @ last, 0))
        total = nearest.sum()
        chosen.append(int(generator.choice(len(values), p=nearest / total if total > 0 else None)))
    return values[chosen]


def _at_centres(x: np.ndarray, groups: Groups, generator: np.random.Generator) -> Start:
    """Centres of k-means in each class, weighted by the shares of the clusters."""
    centres, logits = [], []
    for rows, count in groups:
        rows = generator.permutation(rows)[:MOST_CLUSTERED]
        values = x[rows].reshape(len(rows), -1).astype(np.float64)
        found, labels = k_means(values, far_apart(values, count, generator), generator)
        centres.append(found.reshape(count, *x.shape[1:]))
        logits.append(np.log((np.bincount(labels, minlength=count) + 1) / (len(rows) + count)))
    inputs, logits = np.concatenate(centres), np.concatenate(logits)
    return Start(inputs, logits, np.full(len(inputs), -1))
