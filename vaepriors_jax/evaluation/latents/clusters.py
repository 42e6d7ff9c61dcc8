"""The components of a mixture as clusters of the data, and how well clusters agree with labels."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from vaepriors_jax.checks import check_array, check_positive_integer
from vaepriors_jax.evaluation.latents.components import assign_components
from vaepriors_jax.evaluation.per_example import map_data
from vaepriors_jax.vae import VAE, VAEParams


class ClusteringScores(NamedTuple):
    """The agreement of clusters with labels.

    Attributes:
        accuracy: share of the examples whose cluster stands for their label, where each label has at most one cluster,
            and each cluster at most one label: the best such matching (Hungarian method).
        purity: the same where each cluster stands for the most frequent label in it. Several clusters may share a
            label, so that more clusters give a higher purity.
        normalized_mutual_information: mutual information of clusters and labels, divided by the mean of their
            entropies: 0 for independent ones, 1 if each determines the other.
        num_clusters: number of clusters that hold an example.
    """

    accuracy: float
    purity: float
    normalized_mutual_information: float
    num_clusters: int


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-np.sum(shares * np.log(shares)))


def _numbers(name: str, values: Any) -> np.ndarray:
    """Labels [N] as numbers 0, 1, ..., or TypeError or ValueError."""
    check_array(name, values)
    values = np.asarray(values)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"Expected `{name}` of shape [N], one for each example; got {list(values.shape)}.")
    if not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"Expected integers in `{name}`; got {values.dtype}. Pass class numbers, not probabilities.")
    return np.unique(values, return_inverse=True)[1]


def clustering_scores(labels: Any, clusters: Any) -> ClusteringScores:
    """Scores clusters of examples by their labels.

    Args:
        labels: integer labels [N].
        clusters: integer clusters [N], such as those of `mixture_assignments`. Their numbers mean nothing.

    Returns:
        A `ClusteringScores`.

    Raises:
        TypeError: something that is no integer.
        ValueError: arrays of other shapes, or of different lengths.

    Example:
        >>> import numpy as np, vaepriors_jax as vp
        >>> scores = vp.clustering_scores(np.array([0, 0, 0, 1, 1]), np.array([7, 7, 5, 4, 4]))
        >>> scores.accuracy, scores.purity, scores.num_clusters
        (0.8, 1.0, 3)

    References:
        Accuracy and normalised mutual information: Xie, Girshick & Farhadi (2016), Unsupervised deep embedding for
        clustering analysis, section 4.2. The mean of entropies is arithmetic.
    """
    rows, columns = _numbers("labels", labels), _numbers("clusters", clusters)
    if len(rows) != len(columns):
        raise ValueError(f"Expected as many labels as clusters; got {len(rows)} and {len(columns)}.")
    counts = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(counts, (rows, columns), 1)
    matched = counts[linear_sum_assignment(counts, maximize=True)].sum()
    of_labels, of_clusters = _entropy(counts.sum(axis=1)), _entropy(counts.sum(axis=0))
    shared, mean = of_labels + of_clusters - _entropy(counts), (of_labels + of_clusters) / 2
    return ClusteringScores(
        accuracy=float(matched / len(rows)),
        purity=float(counts.max(axis=0).sum() / len(rows)),
        normalized_mutual_information=1.0 if mean == 0 else min(1.0, max(0.0, shared / mean)),
        num_clusters=counts.shape[1],
    )


@partial(jax.jit, static_argnums=(0, 5))
def _assignments(
    vae: VAE, params: VAEParams, key: jax.Array, data: dict[str, jax.Array], places: Any, chunk_size: int
) -> jax.Array:
    responsibilities, _ = assign_components(vae, params, key, data, chunk_size, places)
    return jnp.argmax(responsibilities, axis=1)


def mixture_assignments(
    vae: VAE, params: VAEParams, key: jax.Array, x: Any, *, chunk_size: int = 200, **context: Any
) -> jax.Array:
    """Finds the component of a mixture (or of a VampPrior) that most probably made each example: its cluster.

    Args:
        vae: a VAE whose prior is a mixture, or has one on its top level.
        params: its parameters.
        key: a random key; one z is drawn for each example.
        x: examples [N, ...], or batches of them (see `vp.Stream`).
        chunk_size: number of examples that are evaluated together.
        **context: per-example context [N, ...], such as `y=`.

    Returns:
        The number of the component with the largest responsibility for z, for each example: [N].

    Raises:
        ValueError: the prior is not a mixture.
    """
    check_positive_integer(chunk_size=chunk_size)

    def program(params: VAEParams, key: jax.Array, data: Any, places: Any) -> jax.Array:
        return _assignments(vae, params, key, data, places, chunk_size)

    return map_data(program, vae, params, key, x, context)
