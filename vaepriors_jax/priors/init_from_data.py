"""Starts from data: `init_from_data`, and what the starts of several priors share."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.cluster.vq import kmeans2

from vaepriors_jax.base import Prior, chain_of
from vaepriors_jax.checks import check_finite, check_labels, check_weights, rows_of_shape
from vaepriors_jax.factories import check_is
from vaepriors_jax.trees import map_arrays, named_arrays


def init_from_data(prior: Prior, key: jax.Array, *, z: Any = None, x: Any = None, y: Any = None, **context: Any) -> Any:
    """Makes parameters of a prior from data; runs on the host, once, before training.

    - `mixture`: k-means on encodings z [N, dim]; weights, means and scales of the clusters.
    - `conditional_mixture`: k-means on the encodings of each class; needs z and labels y [N].
    - `conditional_normal` for labels: mean and scale of the encodings of each class; needs z and y.
    - `autoregressive_mixture`, `transformer_mixture`: k-means on each dimension of z; the network as `init` makes it.
    - `laplace`, `generalized_normal` and `student_t_prior`: quantiles of encodings z, or their mean distance.
    - `flow_matching` and `diffusion`: mean and standard deviation of encodings z; the velocity is 0.
    - `dirichlet_prior`: moments of encodings z; `logistic_normal_prior`: those of their log-ratios.
    - `wrapped_normal_prior`: centroid of encodings z on the hyperboloid, and their spread around it.
    - `power_spherical_mixture`: k-means on encodings z of length 1; weights, mean directions and concentrations.
    - `vamp`: training examples x [N, ...] as pseudo-inputs, drawn without replacement (of each class, given y);
      at least 0.002 of the range of its bounds from either end. With `covariates` those of the same examples. With
      `start="k-means"` the centres of clusters of x, and learned weights are the shares of the clusters.
    - `vamp_mixture`, `weighted_coreset`: pseudo-inputs, and weights of k-means, as `vamp` has them.
    - `dct_vamp`, `amortized_vamp`: the low frequencies of training examples x, or of centres of k-means.
    - `transformed`: its base prior from data; the flow as `init` makes it. A flow with `act_norm` starts from data too:
      each `act_norm` standardises what it gets, and the base prior starts from the u that the flow maps to z.
    - `topographic_map`: the plane of the principal directions of encodings z; `topographic_vamp`: that of examples x.
    - `two_level`: its top prior from data (z is that of both levels); the network as `init` makes it.
    - `stop_gradient`, `conditioned`: as the prior that they wrap. A `vamp` in `stop_gradient` keeps its start.
    - A prior of your own: what its `init_from_data` does.

    Args:
        prior: a prior with a start from data.
        key: a random key.
        z: encodings [N, dim].
        x: training examples [N, ...].
        y: labels [N].
        **context: other per-example context [N, ...], such as the covariates of a `vamp`, by name. Examples of
            `weight=` 0 are left out; a start reads no other weights.

    Returns:
        Parameters like those of `prior.init(key)`.

    Raises:
        ValueError: the prior has no start from data; data missing, not finite, too few, of another shape, or
            outside the bounds of a `vamp`.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> z = jnp.concatenate([jnp.full((50, 2), -3.0), jnp.full((50, 2), 3.0)])
        >>> params = vp.init_from_data(vp.mixture(2, 2), jax.random.key(0), z=z)
        >>> print(sorted(params["loc"][:, 0].tolist()))
        [-3.0, 3.0]
    """
    check_is(Prior, prior)
    if prior.init_from_data is None:
        raise ValueError(f"Expected a prior which can start from data; got {prior!r}, which has only `init`.")
    data = {name: value for name, value in {"z": z, "x": x, "y": y, **context}.items() if value is not None}
    for name in required_data(prior):
        if name not in data:
            raise ValueError(f"Expected `{name}=` to start {prior!r} from data; got none.")
    for name, value in named_arrays({name: data[name] for name in ("z", "x") if name in data}):
        check_finite(name, value)
    if (weight := data.pop("weight", None)) is not None:
        check_weights(weight)
        kept = np.asarray(weight) > 0
        data = map_arrays(lambda value: np.asarray(value)[kept], data)
    return prior.init_from_data(key, **data)


def required_data(prior: Prior) -> list[str]:
    """Names the data without which a prior cannot start: what its `init_from_data`, or one that it wraps, reads.

    These are the keyword-only parameters without a default.
    """
    starts = [one.init_from_data for one in chain_of(prior) if one.init_from_data is not None]
    parameters = [parameter for start in starts for parameter in inspect.signature(start).parameters.values()]
    required = (p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty)
    return list(dict.fromkeys(required))


def examples_as_inputs(x: Any, input_shape: tuple[int, ...]) -> np.ndarray:
    """Returns examples [N, *input_shape] from which pseudo-inputs start, or raises ValueError or TypeError."""
    if isinstance(x, Mapping):
        raise TypeError(
            f"Expected x as one array [N, ...] to start pseudo-inputs; got a dict of {sorted(x)}. A pseudo-input is "
            "one array: join the parts into vectors [N, D], pass `input_shape=(D,)`, and let the encoder take a dict "
            "of parts or one such vector."
        )
    return rows_of_shape("x", x, input_shape)


def rows_by_class(values: np.ndarray, y: Any, num_classes: int, name: str = "y") -> list[np.ndarray]:
    """Splits data [N, ...] by their labels [N], which the batch calls `name`, or raises ValueError."""
    if y is None:
        raise ValueError(f"Expected `{name}=`, the label of each example, to start a prior given a label; got none.")
    labels = rows_of_shape(name, y, ())
    check_labels(labels, num_classes, name)
    if len(values) != len(labels):
        raise ValueError(f"Expected as many labels as examples; got {len(labels)} labels and {len(values)} examples.")
    groups = [values[labels == c] for c in range(num_classes)]
    if empty := [c for c, group in enumerate(groups) if len(group) == 0]:
        raise ValueError(f"Expected examples of every class; none of class {', '.join(map(str, empty))}.")
    return groups


def host_generator(key: jax.Array) -> np.random.Generator:
    """Makes numpy's random generator from a key."""
    return np.random.default_rng(np.asarray(jax.random.bits(key, (4,))).tolist())


def k_means(
    values: np.ndarray, start: int | np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Centres [K, D] of k-means on values [N, D] from centres `start` or for a number of them, and clusters [N]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty cluster keeps its centre, which is what we want
        return kmeans2(values, start, minit="++" if isinstance(start, int) else "matrix", rng=generator)


def clusters_of(z: np.ndarray, num_components: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Centres [K, dim] of k-means clusters of encodings [N, dim], and who belongs to which, zeros and ones [N, K]."""
    if len(z) < num_components:
        raise ValueError(f"Expected at least num_components={num_components} encodings; got {len(z)}.")
    means, labels = k_means(z, num_components, generator)
    return means, np.eye(num_components)[labels]


def clusters(z: np.ndarray, num_components: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights, means and scales of k-means clusters; small clusters borrow the scale of all data."""
    z = z.astype(np.float64)
    means, members = clusters_of(z, num_components, generator)
    counts = members.sum(0)
    scatter = members.T @ (z - members @ means) ** 2
    # One pseudo-observation at the mean within-cluster variance keeps every scale above zero.
    variance = (scatter + scatter.sum(0) / len(z) + 1e-6) / (counts[:, None] + 1)
    logits = np.log((counts + 1) / (len(z) + num_components))
    return {"logits": logits, "loc": means, "log_scale": 0.5 * np.log(variance)}


def as_params(values: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """Makes parameters of arrays of the host, in JAX's default precision."""
    return {name: jnp.asarray(value, jax.dtypes.canonicalize_dtype(float)) for name, value in values.items()}
