"""A prior given a vector, for data of which some examples have no vector."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Inner, Prior
from vaepriors_jax.checks import check_finite, check_names
from vaepriors_jax.conditioning import conditions_read, read_condition, vector_of
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.semi_supervised import start_from_known


@factory
def semi_supervised_vectors(prior: Prior, missing_vectors: Any, *, condition: str = "y") -> Prior:
    r"""Lets a prior p(z|y) given a vector y read vectors of which some are missing.

    The density is $p(z|y)$ where y is known. Where it is missing, marked by NaN in any of its entries, it is
    $\hat p(z) = \frac1M \sum_m p(z|y_m)$ over the given vectors $y_1, \dots, y_M$, such as known rows of the training
    data. A vector of which some entries are NaN counts as missing as a whole.

    Of the distribution that has these M vectors, the density is exact. Where they are samples of a p(y),
    $\hat p(z)$ has the mean $\int p(y)\, p(z|y)\, dy$, and its logarithm is too low on average. With
    `q = prior.apply(params, y=jnp.full(D, jnp.nan))` and `r = q.responsibilities(z)`, the standard error s of
    $\log \hat p(z)$ is about $\sqrt{\sum_m r_m^2 - 1/M}$, and the bias about $-s^2 / 2$. If s is not small, take more
    vectors.

    The density of an example costs that of M + 1 vectors, with a vector of its own too. The KL is a Monte Carlo
    estimate. The networks may not read y.

    Args:
        prior: a prior that reads a vector `y` [D].
        missing_vectors: $y_1, \dots, y_M$ [M, D], as an array or as nested lists; with lists the prior can be saved
            and made again from its configuration.
        condition: the name of y in the context that the prior reads.

    Context:
        What the prior reads.

    Returns:
        A prior with the parameters of `prior`. Its start from data is that of `prior`, from the examples with vectors.

    Raises:
        ValueError: vectors of another size than the prior reads, none at all, or such as are not finite; or the prior
            does not read this vector.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> ages = [[0.2], [0.5], [0.9]]
        >>> prior = vp.semi_supervised_vectors(vp.conditional_normal(2, condition_dim=1), ages)
        >>> params = prior.init(jax.random.key(0))
        >>> prior.apply(params, y=jnp.array([jnp.nan])).log_prob(jnp.zeros(2)).shape
        ()

    References:
        Kingma, Mohamed, Rezende & Welling (2014), Semi-supervised learning with deep generative models, section 3, for
        labels. The sum over samples in place of an integral is ordinary Monte Carlo.
    """
    check_names(condition=condition)
    vectors = _check_vectors(prior, missing_vectors, condition)
    count, dim = vectors.shape

    def apply(params: Any, **context: Any) -> Mixture:
        y = vector_of(read_condition(context, condition), dim, condition)
        y = y.astype(jnp.promote_types(y.dtype, jnp.float32))
        is_missing = jnp.isnan(y).any()
        of_any = jnp.asarray(vectors, y.dtype)
        # Of a missing vector its own component has weight 0, at a point where the density is finite.
        own = jnp.where(is_missing, of_any[0], y)
        return Mixture(
            jnp.where(is_missing, *_log_weights(count)),
            jnp.concatenate([own[None], of_any]),
            lambda one: prior.apply(params, **(context | {condition: one})),
        )

    starts = prior.init_from_data
    start = None if starts is None else start_from_known(starts, condition, lambda y: np.isnan(y).any(axis=-1))
    state = prior.init_state, prior.update_state
    return Prior(prior.init, apply, {}, start, Inner(prior), *state, prior.log_hyperprior)


def _log_weights(count: int) -> tuple[jax.Array, jax.Array]:
    """Log-weights of an example's own vector and of `count` others, where its own is missing and where it is known."""
    dtype = jax.dtypes.canonicalize_dtype(float)
    own = jnp.arange(count + 1) == 0
    of_any = jnp.where(own, -jnp.inf, -np.log(count)).astype(dtype)
    return of_any, jnp.where(own, 0, -jnp.inf).astype(dtype)


def _check_vectors(prior: Prior, vectors: Any, condition: str) -> np.ndarray:
    """Returns vectors [M, D], or raises ValueError unless the prior reads vectors of their size."""
    array = np.asarray(vectors, np.float64)
    if array.ndim != 2 or not array.size:
        raise ValueError(f"Expected `missing_vectors` [M, D], at least one; got shape {list(array.shape)}.")
    check_finite("missing_vectors", array)
    reads = {read.name: read for read in conditions_read(prior.config)}
    if not reads:  # a prior of the user's, which may read anything
        return array
    if condition not in reads:
        raise ValueError(
            f"Expected `condition` among what {prior!r} reads, {', '.join(map(repr, reads))}; got {condition!r}."
        )
    if reads[condition].num_classes is not None:
        raise ValueError(
            f"Expected a prior that reads a vector `{condition}`; {prior!r} reads a label. Use `vp.semi_supervised`."
        )
    if reads[condition].shape != array.shape[1:]:
        raise ValueError(
            f"Expected `missing_vectors` [M, {reads[condition].shape[0]}], as {prior!r} reads them; got shape "
            f"{list(array.shape)}."
        )
    return array
