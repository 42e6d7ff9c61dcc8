"""A mixture of power spherical distributions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_at_least_two, check_positive, check_positive_integer
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.power_spherical import PowerSpherical
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.init_from_data import as_params, clusters_of, host_generator, rows_of_shape


@factory
def power_spherical_mixture(dim: int, num_components: int, *, initial_concentration: float = 10.0) -> Prior:
    r"""Mixture of power spherical distributions, $p(z) = \sum_k w_k\, C_k (1 + \mu_k^\top z)^{\kappa_k}$.

    It is over z of length 1, the unit sphere, and the density is with respect to the surface measure;
    `vp.power_spherical` has the constants $C_k$. The encoder returns a distribution on the sphere, such as
    `vp.power_spherical`.

    Args:
        dim: dimension D of z, at least 2; the sphere itself has D - 1.
        num_components: number K of components.
        initial_concentration: $\kappa$ of all components from `init`, whose directions are uniform on the sphere.

    Returns:
        A prior with the parameters `logits` [K], `loc` [K, dim], directions of any length, and `log_concentration` [K].
        Its KL is a Monte Carlo estimate. It starts from data at clusters of the encodings, with their mean directions.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.power_spherical_mixture(3, num_components=2)
        >>> params = {"logits": jnp.zeros(2), "loc": jnp.array([[0.0, 0, 1], [0, 0, -1]]),
        ...           "log_concentration": jnp.zeros(2)}
        >>> p = prior.apply(params)
        >>> print(f"{p.prob(jnp.array([1.0, 0.0, 0.0])):.4f}")  # with two opposite modes of kappa = 1 it is uniform
        0.0796

    References:
        De Cao & Aziz (2020), The power spherical distribution, eq. 5 (a component); Davidson et al. (2018),
        Hyperspherical variational auto-encoders (the uniform prior, which this one can take the place of).
    """
    check_at_least_two(dim=dim)
    check_positive_integer(num_components=num_components)
    check_positive(initial_concentration=initial_concentration)

    def init(key: jax.Array) -> Any:
        loc = jax.random.normal(key, (num_components, dim))
        return {
            "logits": jnp.zeros(num_components),
            "loc": loc / jnp.linalg.norm(loc, axis=-1, keepdims=True),
            "log_concentration": jnp.full(num_components, np.log(initial_concentration), loc.dtype),
        }

    def apply(params: Any, **context: Any) -> Mixture:
        del context
        parameters = {"loc": params["loc"], "concentration": jnp.exp(params["log_concentration"])}
        return Mixture(jax.nn.log_softmax(params["logits"]), parameters, _component)

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del data
        return as_params(_directions(rows_of_shape("z", z, (dim,)), num_components, host_generator(key)))

    return Prior(init, apply, {}, init_from_data)


def _component(parameters: Any) -> PowerSpherical:
    return PowerSpherical(parameters["loc"], parameters["concentration"])


def _directions(z: np.ndarray, num_components: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Weights, mean directions and concentrations of k-means clusters; small clusters borrow that of all data."""
    lengths = np.linalg.norm(z.astype(np.float64), axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(
            f"Expected encodings on the unit sphere; got {int(np.sum(lengths == 0))} vectors of zeros, which have no "
            "direction."
        )
    z = z / lengths
    centres, members = clusters_of(z, num_components, generator)
    counts, total = members.sum(0), members.T @ z
    length = np.linalg.norm(total, axis=1)
    # The mean of z has length kappa / (kappa + D - 1). One pseudo-observation has the mean length of all clusters.
    resultant = np.minimum((length + length.sum() / len(z)) / (counts + 1), 1 - 1e-4)
    concentration = np.maximum(resultant * (z.shape[1] - 1) / (1 - resultant), 1e-2)
    return {
        "logits": np.log((counts + 1) / (len(z) + num_components)),
        "loc": np.where(length[:, None] > 0, total / np.maximum(length, 1e-12)[:, None], centres),
        "log_concentration": np.log(concentration),
    }
