"""The learnable mixture of Gaussians."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_choice, check_positive, check_positive_integer
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.distributions.full_mixture import FullMixture
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.init_from_data import as_params, clusters, host_generator, rows_of_shape


@factory
def mixture(
    dim: int,
    num_components: int,
    *,
    covariance: str = "diagonal",
    weights: str = "learned",
    initial_spread: float = 1.0,
) -> Prior:
    r"""Mixture of Gaussians, $p(z) = \sum_k w_k\, \mathcal{N}(z; \mu_k, \Sigma_k)$.

    $\Sigma_k = \mathrm{diag}(\sigma_k^2)$, or $L_k L_k^\top$ with a lower Cholesky factor for `covariance="full"`.

    Args:
        dim: dimension of z.
        num_components: number K of components.
        covariance: "diagonal" or "full".
        weights: "learned" or "uniform".
        initial_spread: standard deviation of the means that `init` draws. For a start at clusters of encodings see
            `init_from_data`.

    Returns:
        A prior with parameters `logits` [K] (if learned), `loc` [K, dim] and `log_scale` [K, dim], or `scale_tril` [K,
        dim, dim] (lower triangle read, logarithm of the diagonal) for full covariance. Its KL is a Monte Carlo
        estimate.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.mixture(2, num_components=2)
        >>> params = {"logits": jnp.zeros(2), "loc": jnp.array([[-3.0, -3.0], [3.0, 3.0]]),
        ...           "log_scale": jnp.zeros((2, 2))}
        >>> print(f"{prior.apply(params).log_prob(jnp.array([-3.0, 3.0])):.3f}")
        -19.838

    References:
        Dilokthanakul et al. (2016); Tomczak & Welling (2018), VAE with a VampPrior, section 2 (MoG prior).
    """
    check_positive_integer(dim=dim, num_components=num_components)
    check_choice("covariance", covariance, ("diagonal", "full"))
    check_choice("weights", weights, ("learned", "uniform"))
    check_positive(initial_spread=initial_spread)

    def init(key: jax.Array) -> Any:
        loc = initial_spread * jax.random.normal(key, (num_components, dim))
        shape = jnp.zeros((num_components, dim) if covariance == "diagonal" else (num_components, dim, dim))
        params = {"loc": loc, "log_scale" if covariance == "diagonal" else "scale_tril": shape}
        return params | ({"logits": jnp.zeros(num_components)} if weights == "learned" else {})

    def apply(params: Any, **context: Any) -> DiagonalMixture | FullMixture:
        del context
        logits = params.get("logits", jnp.zeros(num_components, params["loc"].dtype))
        log_weights = jax.nn.log_softmax(logits)
        if covariance == "diagonal":
            return DiagonalMixture(log_weights, params["loc"], jnp.exp(params["log_scale"]))
        return FullMixture(log_weights, params["loc"], cholesky_factor(params["scale_tril"]))

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del data
        start = clusters(rows_of_shape("z", z, (dim,)), num_components, host_generator(key))
        if covariance == "full":
            start["scale_tril"] = np.eye(dim) * start.pop("log_scale")[:, None, :]
        if weights == "uniform":
            del start["logits"]
        return as_params(start)

    return Prior(init, apply, {}, init_from_data)


def cholesky_factor(unconstrained: jax.Array) -> jax.Array:
    """Lower factors [K, dim, dim] with a positive diagonal, exp of the diagonal that comes."""
    diagonal = jnp.exp(jnp.diagonal(unconstrained, axis1=-2, axis2=-1))
    return jnp.tril(unconstrained, -1) + diagonal[..., None] * jnp.eye(unconstrained.shape[-1], dtype=diagonal.dtype)


def mixture_parameters(distribution: DiagonalMixture | FullMixture) -> tuple[Prior, Any]:
    """Writes a mixture distribution as the `mixture` prior and its parameters."""
    loc, scale = distribution.parameters
    num_components, dim = loc.shape
    # Log-weights of minus infinity (components switched off) would make gradients NaN.
    params = {"logits": jnp.maximum(distribution.log_weights, jnp.finfo(loc.dtype).min), "loc": loc}
    if isinstance(distribution, DiagonalMixture):
        return mixture(dim, num_components), params | {"log_scale": jnp.log(scale)}
    log_diagonal = jnp.log(jnp.diagonal(scale, axis1=-2, axis2=-1))
    factor = jnp.tril(scale, -1) + log_diagonal[..., None] * jnp.eye(dim, dtype=loc.dtype)
    return mixture(dim, num_components, covariance="full"), params | {"scale_tril": factor}
