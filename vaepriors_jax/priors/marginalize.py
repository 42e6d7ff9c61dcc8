"""A conditional prior as the mixture over its classes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Inner, Prior
from vaepriors_jax.checks import check_names, check_probabilities
from vaepriors_jax.conditioning import labels_read
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.factories import factory


@factory
def marginalize(prior: Prior, class_probabilities: tuple[float, ...], *, condition: str = "y") -> Prior:
    r"""Makes of p(z|y) a prior that needs no label: $p(z) = \sum_y p(y)\, p(z|y)$.

    Args:
        prior: a prior that reads a label `y`.
        class_probabilities: p(y) for y = 0, 1, ...; they sum to 1.
        condition: the name of y in the context that the prior reads.

    Context:
        What the prior reads; `y`, or what `condition` names, is ignored.

    Returns:
        A prior with the parameters of `prior`.

    Raises:
        ValueError: the probabilities are negative or do not sum to 1, or the prior reads other labels.

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> prior = vp.marginalize(vp.conditional_normal(2, num_classes=3), (0.2, 0.3, 0.5))
        >>> params = prior.init(jax.random.key(0))
        >>> prior.apply(params).sample(seed=jax.random.key(1)).shape
        (2,)
    """
    probabilities = check_probabilities("class_probabilities", class_probabilities)
    check_names(condition=condition)
    labels = dict(labels_read(prior.config))
    if labels and condition not in labels:
        raise ValueError(
            f"Expected `condition` among the labels that {prior!r} reads, {', '.join(map(repr, labels))}; got "
            f"{condition!r}."
        )
    num_classes = labels.get(condition, len(probabilities))
    if num_classes != len(probabilities):
        raise ValueError(
            f"Expected one probability for each of the {num_classes} classes of {prior!r}; got {len(probabilities)}."
        )
    with np.errstate(divide="ignore"):
        log_probabilities = np.log(probabilities)

    def apply(params: Any, **context: Any) -> Mixture:
        return Mixture(
            jnp.asarray(log_probabilities, jax.dtypes.canonicalize_dtype(float)),
            jnp.arange(len(probabilities)),
            lambda y: prior.apply(params, **(context | {condition: y})),
        )

    state = prior.init_state, prior.update_state
    return Prior(prior.init, apply, {}, None, Inner(prior), *state, prior.log_hyperprior)
