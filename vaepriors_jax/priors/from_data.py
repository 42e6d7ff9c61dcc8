"""Parameters of a prior that start from data: clusters of encodings, or training examples."""

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.cluster.vq import kmeans2

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_finite, check_labels
from vaepriors_jax.factories import prior_from_config
from vaepriors_jax.priors.vamp import component_classes, from_bounds


def init_from_data(prior: Prior, key: jax.Array, *, z: Any = None, x: Any = None, y: Any = None) -> Any:
    """Makes parameters of a prior from data; runs on the host, once, before training.

    - `mixture`: k-means on encodings z [N, dim]; weights, means and scales of the clusters.
    - `conditional_mixture`: k-means on the encodings of each class; needs z and labels y [N].
    - `conditional_normal` for labels: mean and scale of the encodings of each class; needs z and y.
    - `vamp`: training examples x [N, ...] as pseudo-inputs, drawn without replacement (of each class, given y);
      at least 0.002 of the range of its bounds from either end.
    - `transformed`: its base prior from data; the flow as `init` makes it.
    - `two_level`: its top prior from data (z is that of both levels); the network as `init` makes it.

    Args:
        prior: one of the priors above.
        key: a random key.
        z: encodings [N, dim].
        x: training examples [N, ...].
        y: labels [N].

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
    starts = {
        "mixture": _mixture,
        "conditional_mixture": _conditional_mixture,
        "conditional_normal": _conditional_normal,
        "vamp": _vamp,
        "transformed": _transformed,
        "two_level": _two_level,
    }
    name = prior.config["factory"]
    if name not in starts:
        raise ValueError(f"Expected a prior among {', '.join(starts)}, which can start from data; got {prior!r}.")
    for argument, value in (("z", z), ("x", x)):
        if value is not None:
            check_finite(argument, value)
    return starts[name](prior, key, {"z": z, "x": x, "y": y})


def _need(prior: Prior, data: dict[str, Any], name: str, shape: tuple[int, ...] | None) -> np.ndarray:
    if data[name] is None:
        raise ValueError(f"Expected `{name}=` to start {prior!r} from data; got none.")
    array = np.asarray(data[name])
    if shape is not None and array.shape[1:] != shape:
        raise ValueError(f"Expected `{name}` of shape [N, {', '.join(map(str, shape))}]; got {array.shape}.")
    return array


def _rng(key: jax.Array) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.bits(key, (4,))).tolist())


def _clusters(z: np.ndarray, num_components: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights, means and scales of k-means clusters; small clusters borrow the scale of all data."""
    if len(z) < num_components:
        raise ValueError(f"Expected at least num_components={num_components} encodings; got {len(z)}.")
    z = z.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an empty cluster keeps its centre, which is what we want
        means, labels = kmeans2(z, num_components, minit="++", rng=rng)
    members = np.eye(num_components)[labels]
    counts = members.sum(0)
    scatter = members.T @ (z - means[labels]) ** 2
    # One pseudo-observation at the mean within-cluster variance keeps every scale above zero.
    variance = (scatter + scatter.sum(0) / len(z) + 1e-6) / (counts[:, None] + 1)
    logits = np.log((counts + 1) / (len(z) + num_components))
    return {"logits": logits, "loc": means, "log_scale": 0.5 * np.log(variance)}


def _as_params(values: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value, jax.dtypes.canonicalize_dtype(float)) for name, value in values.items()}


def _mixture(prior: Prior, key: jax.Array, data: dict[str, Any]) -> Any:
    config = prior.config
    z = _need(prior, data, "z", (config["dim"],))
    start = _clusters(z, config["num_components"], _rng(key))
    if config.get("covariance") == "full":
        start["scale_tril"] = np.eye(config["dim"]) * start.pop("log_scale")[:, None, :]
    if config.get("weights") == "uniform":
        del start["logits"]
    return _as_params(start)


def _of_each_class(prior: Prior, data: dict[str, Any], name: str, shape: tuple[int, ...] | None) -> list[np.ndarray]:
    values, labels = _need(prior, data, name, shape), _need(prior, data, "y", ())
    num_classes = prior.config["num_classes"]
    check_labels(labels, num_classes)
    if len(values) != len(labels):
        raise ValueError(f"Expected as many labels as examples; got {len(labels)} labels and {len(values)} examples.")
    groups = [values[labels == c] for c in range(num_classes)]
    if empty := [c for c, group in enumerate(groups) if len(group) == 0]:
        raise ValueError(f"Expected examples of every class; none of class {', '.join(map(str, empty))}.")
    return groups


def _conditional_mixture(prior: Prior, key: jax.Array, data: dict[str, Any]) -> Any:
    rng = _rng(key)
    groups = _of_each_class(prior, data, "z", (prior.config["dim"],))
    starts = [_clusters(group, prior.config["num_components"], rng) for group in groups]
    return _as_params({name: np.stack([start[name] for start in starts]) for name in starts[0]})


def _conditional_normal(prior: Prior, key: jax.Array, data: dict[str, Any]) -> Any:
    del key
    if "num_classes" not in prior.config:
        raise ValueError(f"Expected a prior given a label; {prior!r} is a network, which has no start from data.")
    groups = _of_each_class(prior, data, "z", (prior.config["dim"],))
    loc = np.stack([group.mean(0) for group in groups])
    return _as_params({"loc": loc, "log_scale": np.stack([0.5 * np.log(group.var(0) + 1e-6) for group in groups])})


def _vamp(prior: Prior, key: jax.Array, data: dict[str, Any]) -> Any:
    config, rng = prior.config, _rng(key)
    num_components, num_classes = config["num_components"], config.get("num_classes")
    shape = np.atleast_1d(config["input_shape"])
    if num_classes is None:
        groups = [_need(prior, data, "x", tuple(shape))]
    else:
        groups = _of_each_class(prior, data, "x", tuple(shape))
    counts = np.bincount(component_classes(num_components, len(groups)), minlength=len(groups))
    if any(len(group) < count for group, count in zip(groups, counts, strict=True)):
        raise ValueError(
            f"Expected at least as many examples as pseudo-inputs ({counts.tolist()} for each class); got "
            f"{[len(group) for group in groups]}."
        )
    bounds = config.get("bounds", (0.0, 1.0))
    for group in groups:
        _check_within(group, bounds)
    chosen = [group[rng.choice(len(group), n, replace=False)] for group, n in zip(groups, counts, strict=True)]
    start = prior.init(key)
    examples = jnp.asarray(np.concatenate(chosen), start["pseudo_inputs"].dtype)
    return start | {"pseudo_inputs": from_bounds(examples, bounds)}


def _check_within(x: np.ndarray, bounds: tuple[float, float] | None) -> None:
    """Raises ValueError where examples lie outside the bounds by more than float32 rounds."""
    if bounds is None:
        return
    least, largest = float(x.min()), float(x.max())
    low, high = map(float, bounds)
    rounding = 1e-6 * max(high - low, abs(low), abs(high))
    if least < low - rounding or largest > high + rounding:
        raise ValueError(
            f"Expected `x` within the bounds ({low:g}, {high:g}) of the `vamp` prior; got values from {least:g} to "
            f"{largest:g}. Pass `bounds=` that hold the data, or `bounds=None` for data without bounds."
        )


def _transformed(prior: Prior, key: jax.Array, data: dict[str, Any]) -> Any:
    base = prior_from_config(prior.config["base_prior"])
    return prior.init(key) | {"base": init_from_data(base, key, **data)}


def _two_level(prior: Prior, key: jax.Array, data: dict[str, Any]) -> Any:
    top = prior_from_config(prior.config["top_prior"])
    top_dim = prior.config["top_dim"]
    if data["z"] is not None:
        both = _need(prior, data, "z", (prior.config["bottom_dim"] + top_dim,))
        data = data | {"z": both[:, -top_dim:]}
    return prior.init(key) | {"top": init_from_data(top, key, **data)}
