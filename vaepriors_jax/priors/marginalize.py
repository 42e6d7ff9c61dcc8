"""A conditional prior as the mixture over its classes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Inner, Prior
from vaepriors_jax.checks import check_probabilities
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.factories import factory


@factory
def marginalize(prior: Prior, class_probabilities: tuple[float, ...]) -> Prior:
    r"""Makes of p(z|y) a prior that needs no label: $p(z) = \sum_y p(y)\, p(z|y)$.

    Args:
        prior: a prior that reads a label `y`.
        class_probabilities: p(y) for y = 0, 1, ...; they sum to 1.

    Context:
        What the prior reads; `y` is ignored.

    Returns:
        A prior with the parameters of `prior`.

    Raises:
        ValueError: the probabilities are negative or do not sum to 1.

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> prior = vp.marginalize(vp.conditional_normal(2, num_classes=3), (0.2, 0.3, 0.5))
        >>> params = prior.init(jax.random.key(0))
        >>> prior.apply(params).sample(seed=jax.random.key(1)).shape
        (2,)
    """
    probabilities = check_probabilities("class_probabilities", class_probabilities)
    num_classes = prior.config.get("num_classes", len(probabilities))
    if num_classes != len(probabilities):
        raise ValueError(
            f"Expected one probability for each of the {num_classes} classes of {prior!r}; got {len(probabilities)}."
        )
    with np.errstate(divide="ignore"):
        log_probabilities = np.log(probabilities)

    def apply(params: Any, *, y: Any = None, **context: Any) -> Mixture:
        del y
        return Mixture(
            jnp.asarray(log_probabilities, jax.dtypes.canonicalize_dtype(float)),
            jnp.arange(len(probabilities)),
            lambda y: prior.apply(params, **context, y=y),
        )

    return Prior(prior.init, apply, {}, inner=Inner(prior))
