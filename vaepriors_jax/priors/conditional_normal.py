"""A Gaussian prior given a label or a vector."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive, check_positive_integer, check_shape
from vaepriors_jax.conditioning import Conditioner, check_condition, read_condition, run_network, take_class, vector_of
from vaepriors_jax.distributions.normal import normal_diag, normal_of_outputs
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.init_from_data import as_params, rows_by_class, rows_of_shape


@factory
def conditional_normal(
    dim: int,
    *,
    num_classes: int | None = None,
    condition_dim: int | None = None,
    hidden: tuple[int, ...] = (64,),
    initial_spread: float = 1.0,
    condition: str = "y",
) -> Prior:
    r"""Conditional Gaussian prior, $p(z|y) = \mathcal{N}(z; \mu(y), \mathrm{diag}(\sigma(y)^2))$.

    For a label y, one location and scale for each class; for a vector y, a network gives both, with scales kept within
    [1e-8, 1e8]. The KL from a diagonal Gaussian posterior has a closed form.

    Args:
        dim: dimension of z.
        num_classes: number of classes, if y is a label.
        condition_dim: size of y, if it is a vector.
        hidden: widths of the network's hidden layers (vector conditions only).
        initial_spread: standard deviation of the locations that `init` draws (labels only; a network starts at
            N(0, I)).
        condition: the name of y: the entry of the batch that holds it. For several see `conditioned`.

    Context:
        y: an integer label, or a vector [condition_dim]; or an entry of the name that `condition` gives.

    Returns:
        A prior with parameters `loc` and `log_scale` [num_classes, dim], or those of the network.

    Raises:
        ValueError: both or neither of `num_classes` and `condition_dim`; a label outside the classes. (Within a
            compiled function, where labels cannot be seen, the density of such a label is NaN.)

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> prior = vp.conditional_normal(2, num_classes=10)
        >>> prior.apply(prior.init(jax.random.key(0)), y=3).event_shape
        (2,)

    References:
        Sohn, Lee & Yan (2015), Learning structured output representation using deep conditional generative models,
        eq. 5.
    """
    check_positive_integer(dim=dim)
    check_condition(num_classes, condition_dim, condition, required=True)
    check_positive(initial_spread=initial_spread)
    network = Conditioner(check_shape("hidden", hidden), 2 * dim)

    def init(key: jax.Array) -> Any:
        if num_classes is None:
            return network.init(key, jnp.zeros(condition_dim or 0))["params"]
        loc = initial_spread * jax.random.normal(key, (num_classes, dim))
        return {"loc": loc, "log_scale": jnp.zeros((num_classes, dim))}

    def apply(params: Any, **context: Any) -> distrax.Distribution:
        y = read_condition(context, condition)
        if num_classes is not None:
            loc, log_scale = (take_class(params[name], y, condition) for name in ("loc", "log_scale"))
            return normal_diag(loc, jnp.exp(log_scale))
        return normal_of_outputs(run_network(network, params, vector_of(y, condition_dim, condition)))

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del key
        groups = rows_by_class(rows_of_shape("z", z, (dim,)), data.get(condition), num_classes or 0, condition)
        loc = np.stack([group.mean(0) for group in groups])
        return as_params({"loc": loc, "log_scale": np.stack([0.5 * np.log(group.var(0) + 1e-6) for group in groups])})

    return Prior(init, apply, {}, None if num_classes is None else init_from_data)
