"""The standard Gaussian prior."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.distributions.normal import normal_diag
from vaepriors_jax.factories import factory


@factory
def standard_normal(dim: int) -> Prior:
    r"""Standard Gaussian prior, $p(z) = \mathcal{N}(z; 0, I)$; no parameters.

    Its KL from a diagonal Gaussian posterior has a closed form.

    Args:
        dim: dimension of z.

    Raises:
        ValueError: `dim` is not an integer of at least 1.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> print(vp.standard_normal(2).apply({}).log_prob(jnp.zeros(2)))
        -1.837877

    References:
        Kingma & Welling (2014), Auto-encoding variational Bayes, appendix B.
    """
    check_positive_integer(dim=dim)

    def init(key: jax.Array) -> Any:
        del key
        return {}

    def apply(params: Any, **context: Any) -> distrax.Distribution:
        del params, context
        return normal_diag(jnp.zeros(dim), jnp.ones(dim))

    return Prior(init, apply, {})
