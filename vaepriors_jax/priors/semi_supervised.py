"""A conditional prior for data of which some examples have no label."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import InitFromData, Inner, Prior
from vaepriors_jax.checks import check_labels, check_names, check_probabilities
from vaepriors_jax.conditioning import MISSING_LABEL, labels_read, read_condition
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.factories import factory
from vaepriors_jax.trees import map_arrays


@factory
def semi_supervised(
    prior: Prior,
    missing_probabilities: tuple[float, ...],
    *,
    condition: str = "y",
    missing_label: int = MISSING_LABEL,
) -> Prior:
    r"""Lets a prior p(z|y) read labels of which some are missing.

    The density is $p(z|y)$ where y is known, and $p(z) = \sum_y p(y)\, p(z|y)$ where it is not. An example without a
    label has y = -1. The sum over classes is exact, so that one data set trains with all its examples: the ELBO of an
    example is a bound on log p(x|y) with a label, and on log p(x) without one. In evaluation `y=jnp.full(N, -1)` gives
    log p(x) of all of them.

    `prior.apply(params, y=-1).responsibilities(z)` is $p(y|z)$ [C], a classifier.

    The density of an example costs that of all C classes, with a label too. Its KL is a Monte Carlo estimate, also
    where that to p(z|y) has a closed form.

    The networks may not read the label: with an encoder or a decoder of y, an example without one would need an
    objective summed over the classes of both. `fit`, `make_train_step` and evaluations refuse them.

    Args:
        prior: a prior that reads a label `y`.
        missing_probabilities: p(y) of a label that is missing, for y = 0, 1, ...; they sum to 1.
        condition: the name of y in the context that the prior reads.
        missing_label: the integer that stands for a missing label; no class.

    Context:
        What the prior reads.

    Returns:
        A prior with the parameters of `prior`. Its start from data is that of `prior`, from the examples with labels.

    Raises:
        ValueError: the probabilities are negative or do not sum to 1, the prior does not read this label, the missing
            label is a class, or a label is neither a class nor missing. (Within a compiled function the density is then
            NaN.)

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> prior = vp.semi_supervised(vp.conditional_normal(2, num_classes=3), (0.2, 0.3, 0.5))
        >>> params = prior.init(jax.random.key(0))
        >>> of_class, of_any = prior.apply(params, y=1), prior.apply(params, y=-1)
        >>> print(of_any.responsibilities(of_class.sample(seed=jax.random.key(1))).shape)
        (3,)

    References:
        Kingma, Mohamed, Rezende & Welling (2014), Semi-supervised learning with deep generative models, eq. 7, the sum
        over classes for an example without a label. There (M2) the decoder reads y, and a network gives q(y|x); here
        the prior reads it, and p(y|z) follows from Bayes' rule.
    """
    probabilities = check_probabilities("missing_probabilities", missing_probabilities)
    check_names(condition=condition)
    num_classes = len(probabilities)
    _check_label(prior, condition, num_classes, missing_label)
    with np.errstate(divide="ignore"):
        log_probabilities = np.log(probabilities)

    def apply(params: Any, **context: Any) -> Mixture:
        y = read_condition(context, condition)
        check_labels(y, num_classes, condition, missing_label)
        return Mixture(
            _log_weights(y, log_probabilities, condition, missing_label),
            jnp.arange(num_classes),
            lambda label: prior.apply(params, **(context | {condition: label})),
        )

    starts = prior.init_from_data
    start = None if starts is None else start_from_known(starts, condition, lambda y: y == missing_label)
    state = prior.init_state, prior.update_state
    return Prior(prior.init, apply, {}, start, Inner(prior), *state, prior.log_hyperprior)


def _log_weights(y: Any, log_probabilities: np.ndarray, name: str, missing_label: int) -> jax.Array:
    """Log-weights of the classes [C], given a label: those of p(y) if it is missing; NaN if it is no class."""
    y = jnp.asarray(y).astype(jnp.int32)
    if y.shape != ():
        raise ValueError(
            f"Expected one label `{name}` for one example, of shape (); got {y.shape}. Map over the batch."
        )
    of_any = jnp.asarray(log_probabilities, jax.dtypes.canonicalize_dtype(float))
    classes = jnp.arange(len(of_any))
    of_class = jnp.where(classes == y, 0, -jnp.inf).astype(of_any.dtype)
    is_missing, is_class = y == missing_label, (y >= 0) & (y < len(of_any))
    return jnp.where(is_missing, of_any, jnp.where(is_class, of_class, jnp.nan))


def _check_label(prior: Prior, condition: str, num_classes: int, missing_label: int) -> None:
    """Raises ValueError unless the prior reads the label, with as many classes, and the missing label is none."""
    labels = dict(labels_read(prior.config))
    if labels and condition not in labels:
        raise ValueError(
            f"Expected `condition` among the labels that {prior!r} reads, {', '.join(map(repr, labels))}; got "
            f"{condition!r}."
        )
    if labels.get(condition, num_classes) != num_classes:
        raise ValueError(
            f"Expected one probability for each of the {labels[condition]} classes of {prior!r}; got {num_classes}."
        )
    is_integer = isinstance(missing_label, (int, np.integer)) and not isinstance(missing_label, bool)
    if not is_integer or 0 <= missing_label < num_classes:
        raise ValueError(
            f"Expected `missing_label` as an integer that is none of the {num_classes} classes, such as -1; got "
            f"{missing_label!r}."
        )


def start_from_known(start: InitFromData, condition: str, is_missing: Callable[[Any], Any]) -> Callable[..., Any]:
    """The start of a prior from those of the data [N, ...] whose condition is not missing."""

    def start_from_those(key: jax.Array, **data: Any) -> Any:
        if data.get(condition) is None:
            return start(key, **data)
        kept = ~is_missing(np.asarray(data[condition]))
        if not kept.any():
            raise ValueError(f"Expected some examples with a known `{condition}` to start from; all are missing.")
        return start(key, **map_arrays(lambda value: np.asarray(value)[kept], data))

    return start_from_those
