"""The exemplar prior: a Gaussian around the encoding of each training example, all of one width."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_array, check_finite, check_positive, check_positive_integer
from vaepriors_jax.distributions.conversion import as_latent_distribution
from vaepriors_jax.distributions.isotropic_mixture import IsotropicMixture
from vaepriors_jax.distributions.nearest_exemplars import NearestExemplars
from vaepriors_jax.distributions.posterior_mixture import moments
from vaepriors_jax.factories import factory
from vaepriors_jax.loops import map_chunks

Encode = Callable[..., distrax.Distribution]

ENCODED_AT_ONCE = 1000


@factory
def exemplar(dim: int, *, num_neighbors: int | None = None, initial_scale: float = 1.0) -> Prior:
    r"""Exemplar prior, $p(z) = \frac1N \sum_n \mathcal{N}(z; \mu(x_n), \sigma^2 I)$ for training examples $x_n$.

    $\mu(x)$ is the mean of the encoder's q(z|x), and $\sigma$ is one learned number. The gradient flows through the
    encoder. The exemplars are not parameters but the prior's state, which a `VAE` passes to it:
    `vp.init_prior_state(vae, params, x=...)` puts them into the parameters of a VAE. They may be all training examples
    or some of them.

    In training, an example must not find itself among the exemplars, or the prior would learn to store it. With the
    entry `index` in the batch, the place of each example among the exemplars, that one is left out, and the density is
    the mean over the $N - 1$ others. For `fit`, write `data = {"x": x, "index": np.arange(len(x))}`.
    Evaluation data have no `index`, and their density is the mean over all exemplars.

    All exemplars are encoded anew at each training step, which is slow for tens of thousands. With `num_neighbors`, an
    example that has an `index` takes the sum over the exemplars nearest to z alone: a lower bound on its log-density,
    and so on the ELBO. Only these are encoded. Which ones are nearest is read from `encodings` in the prior's state.
    Each training step renews the entries of its own batch, so that an entry is up to an epoch old. Old entries can make
    the bound looser, never wrong. Validation and evaluation encode all exemplars anew: they use neither the bound nor
    the stored encodings.

    Args:
        dim: dimension of z.
        num_neighbors: number of nearest exemplars in training; None for all of them.
        initial_scale: the standard deviation $\sigma$ that `init` gives.

    Context:
        encode: the encoder with its parameters, from x to q(z|x); a `VAE` passes its own.
        exemplars: training examples [N, ...], in the prior's state.
        index: the place of the example among the exemplars; leaves that one out. A number that is no place, such as
            -1, leaves none out. Optional.
        encodings: stored encodings [N, dim], in the prior's state; read with `num_neighbors` and `index` alone.

    Returns:
        A prior with the parameter `log_scale`, a scalar. Its KL is a Monte Carlo estimate. Without `index`, and without
        `num_neighbors`, the density is exact.

    Raises:
        ValueError: an argument out of range.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.exemplar(2)
        >>> params = prior.init(jax.random.key(0))
        >>> encode = lambda x: vp.normal_diag(x[:2], jnp.ones(2))
        >>> exemplars = jnp.array([[-3.0, -3.0, 0.0], [3.0, 3.0, 0.0]])
        >>> p = prior.apply(params, encode=encode, exemplars=exemplars)
        >>> print(f"{p.log_prob(jnp.array([-3.0, 3.0])):.3f}")
        -19.838

    References:
        Norouzi, Fleet & Norouzi (2020), Exemplar VAE: linking generative models, nearest neighbor retrieval, and data
        augmentation, section 3: the prior, leaving one out, and the bound from nearest neighbours. There half of the
        exemplars, drawn at random, serve in each epoch.
    """
    check_positive_integer(dim=dim, **({} if num_neighbors is None else {"num_neighbors": num_neighbors}))
    check_positive(initial_scale=initial_scale)

    def init(key: jax.Array) -> Any:
        del key
        return {"log_scale": jnp.log(jnp.asarray(initial_scale, jnp.result_type(float)))}

    def apply(
        params: Any, *, encode: Encode, exemplars: Any, index: Any = None, encodings: Any = None, **context: Any
    ) -> distrax.Distribution:
        del context
        scale, exemplars = jnp.exp(params["log_scale"]), jnp.asarray(exemplars)
        log_weights = log_weights_of(len(exemplars), index, scale.dtype)
        if index is None or num_neighbors is None:
            return IsotropicMixture(log_weights, encode_all(encode, exemplars, dim), scale)
        if encodings is None:
            encodings = jax.lax.stop_gradient(encode_all(encode, exemplars, dim))
        mean_of = mean_by(encode)
        return NearestExemplars(log_weights, exemplars, mean_of, scale, encodings, num_neighbors)

    def init_state(*, encode: Encode, x: Any, **data: Any) -> Any:
        del data
        check_array("x", x)
        check_finite("x", x)
        if not len(x):
            raise ValueError("Expected at least one training example in `x` as an exemplar; got none.")
        exemplars = jnp.array(x)
        return {"exemplars": exemplars} | (
            {} if num_neighbors is None else {"encodings": encode_all(encode, exemplars, dim)}
        )

    def update_state(state: Any, *, encode: Encode, x: jax.Array, index: Any = None, **batch: Any) -> Any:
        del batch
        if index is None or "encodings" not in state:
            return {}
        means = jax.vmap(mean_by(encode))(x).astype(state["encodings"].dtype)
        place = jnp.where(index < 0, len(state["encodings"]), index)  # a negative index would count from the end
        return {"encodings": state["encodings"].at[place].set(means, mode="drop")}

    return Prior(init, apply, {}, init_state=init_state, update_state=update_state)


def log_weights_of(count: int, index: Any, dtype: Any) -> jax.Array:
    """Equal log-weights [N], with minus infinity for the exemplar at `index`."""
    if index is None:
        return jnp.full(count, -jnp.log(count), dtype)
    index = jnp.asarray(index)
    if index.shape != () or not jnp.issubdtype(index.dtype, jnp.integer):
        raise ValueError(
            f"Expected `index` to be an integer, the place of one example among the exemplars; got {index.dtype} of "
            f"shape {index.shape}. For a batch map over the examples."
        )
    if count < 2:
        raise ValueError(f"Expected at least 2 exemplars where `index` leaves one out; got {count}.")
    left_out = jnp.arange(count) == index
    return jnp.where(left_out, -jnp.inf, -jnp.log(count - jnp.sum(left_out))).astype(dtype)


def mean_by(encode: Encode) -> Callable[[jax.Array], jax.Array]:
    """The mean [dim] of the encoder's q(z|x), as a function of x."""
    return lambda x: moments(as_latent_distribution(encode(x)))[0]


def encode_all(encode: Encode, exemplars: jax.Array, dim: int) -> jax.Array:
    """The means [N, dim] of the encoder's q(z|x) at all exemplars."""
    try:
        means = map_chunks(mean_by(encode), exemplars, ENCODED_AT_ONCE)
    except Exception as error:
        error.add_note(
            f"The encoder was given an exemplar of an `exemplar` prior, from an array of shape {exemplars.shape}. Pass "
            "examples of the data as exemplars."
        )
        raise
    if means.shape[1:] != (dim,):
        raise ValueError(f"Expected an encoder of x into z of dim={dim}; its mean has the shape {means.shape[1:]}.")
    return means
