"""The kernel distance between two sets of features (KID)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_key, check_positive_integer
from vaepriors_jax.evaluation.estimates import Estimate
from vaepriors_jax.evaluation.samples.feature_sets import check_pair, row_chooser


def squared_mmd(real: Any, generated: Any) -> float:
    r"""Unbiased squared maximum mean discrepancy of all samples with the kernel $(x \cdot y / F + 1)^3$, in float64.

    Args:
        real: features [N, F].
        generated: features [M, F].

    Returns:
        The estimate, which can be below 0.

    Raises:
        ValueError: fewer than 2 samples, not finite, constant features in `real`, or unequal F.
    """
    real, generated = check_pair(real, generated, 2)
    return float(_subsets(real, generated, np.arange(len(real))[None], np.arange(len(generated))[None])[0])


def _subsets(real: np.ndarray, generated: np.ndarray, *rows: np.ndarray) -> np.ndarray:
    """The squared MMD [B] of subsets, in float64 since it is a small difference of large means."""
    with jax.enable_x64(True):
        sets = jnp.asarray(real, jnp.float64), jnp.asarray(generated, jnp.float64)
        return np.asarray(_map_squared_mmd(*sets, *map(jnp.asarray, rows)))


@jax.jit
def _map_squared_mmd(real: jax.Array, generated: jax.Array, rows_real: jax.Array, rows_generated: jax.Array) -> Any:
    def kernel(x: jax.Array, y: jax.Array) -> jax.Array:
        return (jnp.matmul(x, y.T, precision=jax.lax.Precision.HIGHEST) / x.shape[1] + 1) ** 3

    def within(x: jax.Array) -> jax.Array:
        diagonal = (jnp.sum(x * x, axis=1) / x.shape[1] + 1) ** 3
        return (jnp.sum(kernel(x, x)) - jnp.sum(diagonal)) / (len(x) * (len(x) - 1))

    def of_subset(rows: tuple[jax.Array, jax.Array]) -> jax.Array:
        x, y = real[rows[0]], generated[rows[1]]
        return within(x) + within(y) - 2 * jnp.mean(kernel(x, y))

    return jax.lax.map(of_subset, (rows_real, rows_generated))


def kernel_distance(
    key: jax.Array, real: Any, generated: Any, *, num_subsets: int = 100, subset_size: int = 1000
) -> Estimate[float]:
    r"""Kernel distance (KID): the unbiased squared MMD with the kernel $(x \cdot y / F + 1)^3$, averaged over subsets.

    Subsets overlap, so that their standard deviation s divided by $\sqrt{B}$ covers only the choice of subsets. The
    standard error here, the root of $s^2 / B + s^2 f / (1 - f)$, covers the choice of examples too; f is the size of a
    subset divided by that of the smaller set. For small sets, use `bootstrap` with `squared_mmd`.

    Args:
        key: a random key, which chooses the subsets.
        real: features [N, F].
        generated: features [M, F].
        num_subsets: number of subsets B.
        subset_size: samples from each set in a subset, drawn without replacement.

    Returns:
        An `Estimate`: the mean over subsets, which can be below 0, and its standard error from the choice of examples
        and of subsets; NaN if a subset is a whole set.

    Raises:
        ValueError: fewer samples than `subset_size`, not finite, constant features in `real`, or unequal F.
        TypeError: `key` is not a random key.

    Example:
        >>> import jax
        >>> from vaepriors_jax.evaluation.samples import kernel_distance
        >>> real, same = jax.random.normal(jax.random.key(0), (2, 500, 3))
        >>> estimate = kernel_distance(jax.random.key(1), real, same + 1, num_subsets=10, subset_size=100)
        >>> exact = 32 / 3
        >>> abs(estimate.mean - exact) < 3 * estimate.standard_error
        True

    References:
        Bińkowski et al. (2018), Demystifying MMD GANs, section 4.
    """
    key = check_key(key)
    check_positive_integer(num_subsets=num_subsets, subset_size=subset_size)
    if subset_size < 2:
        raise ValueError(f"Expected `subset_size` >= 2 for an unbiased estimate; got {subset_size}.")
    real, generated = check_pair(real, generated, subset_size)
    chooser = row_chooser(key)
    rows = [
        [chooser.choice(len(array), subset_size, replace=False) for _ in range(num_subsets)]
        for array in (real, generated)
    ]
    values = _subsets(real, generated, *map(np.asarray, rows))
    share = subset_size / min(len(real), len(generated))
    if share == 1 or num_subsets == 1:
        return Estimate(float(np.mean(values)), float("nan"))
    variance = np.var(values, ddof=1) * (1 / num_subsets + share / (1 - share))
    return Estimate(float(np.mean(values)), float(np.sqrt(variance)))
