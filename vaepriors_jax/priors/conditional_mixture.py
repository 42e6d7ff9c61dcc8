"""A mixture of Gaussians for each class."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_names, check_positive, check_positive_integer
from vaepriors_jax.conditioning import read_condition, take_class
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.init_from_data import (
    as_params,
    clusters,
    host_generator,
    rows_by_class,
    rows_of_shape,
)


@factory
def conditional_mixture(
    dim: int, num_components: int, *, num_classes: int, initial_spread: float = 1.0, condition: str = "y"
) -> Prior:
    r"""Mixture of Gaussians for each class.

    $p(z|y) = \sum_k w_{yk}\, \mathcal{N}(z; \mu_{yk}, \mathrm{diag}(\sigma_{yk}^2))$.

    Args:
        dim: dimension of z.
        num_components: number K of components of each class.
        num_classes: number of classes C.
        initial_spread: standard deviation of the means that `init` draws.
        condition: the name of y: the entry of the batch that holds the label.

    Context:
        y: an integer label; or an entry of the name that `condition` gives.

    Returns:
        A prior with parameters `logits` [C, K], `loc` and `log_scale` [C, K, dim]. Its KL is a Monte Carlo estimate.

    Raises:
        ValueError: an argument out of range; a label outside the classes. (Within a compiled function, where labels
            cannot be seen, the density of such a label is NaN.)

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> prior = vp.conditional_mixture(2, num_components=3, num_classes=10)
        >>> prior.apply(prior.init(jax.random.key(0)), y=3).event_shape
        (2,)
    """
    check_positive_integer(dim=dim, num_components=num_components, num_classes=num_classes)
    check_positive(initial_spread=initial_spread)
    check_names(condition=condition)

    def init(key: jax.Array) -> Any:
        shape = (num_classes, num_components, dim)
        loc = initial_spread * jax.random.normal(key, shape)
        return {"logits": jnp.zeros(shape[:2]), "loc": loc, "log_scale": jnp.zeros(shape)}

    def apply(params: Any, **context: Any) -> DiagonalMixture:
        y = read_condition(context, condition)
        # All components with the other classes switched off: indexing them by class would copy them for each example.
        member = take_class(jnp.eye(num_classes, dtype=params["loc"].dtype), y, condition)
        within_class = jax.nn.log_softmax(params["logits"], axis=-1)
        log_weights = jnp.where(member[:, None] > 0, within_class, -jnp.inf)
        log_weights = jnp.where(jnp.isnan(member)[:, None], jnp.nan, log_weights)
        loc, log_scale = (params[name].reshape(-1, dim) for name in ("loc", "log_scale"))
        return DiagonalMixture(log_weights.reshape(-1), loc, jnp.exp(log_scale))

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        generator = host_generator(key)
        groups = rows_by_class(rows_of_shape("z", z, (dim,)), data.get(condition), num_classes, condition)
        starts = [clusters(group, num_components, generator) for group in groups]
        return as_params({name: np.stack([start[name] for start in starts]) for name in starts[0]})

    return Prior(init, apply, {}, init_from_data)
