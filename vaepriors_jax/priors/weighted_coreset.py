"""The prior of a weighted coreset: a Gaussian around the encoding of each of a few pseudo-inputs, all of one width."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Inner, Prior
from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.distributions.isotropic_mixture import IsotropicMixture
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.exemplar_encoding import mean_by
from vaepriors_jax.priors.vamp import pseudo_inputs, vamp


@factory
def weighted_coreset(
    dim: int,
    num_components: int,
    input_shape: tuple[int, ...],
    *,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    initial_mean: float = 0.5,
    initial_scale: float = 0.1,
    initial_width: float = 1.0,
    start: str = "examples",
) -> Prior:
    r"""Prior of a weighted coreset, $p(z) = \sum_k w_k\, \mathcal{N}(z; \mu(u_k), \sigma^2 I)$.

    $\mu(x)$ is the mean of the encoder's q(z|x), the pseudo-inputs $u_k$ are learned, and $\sigma$ is one learned
    number. It stands for the `exemplar` prior of a whole data set: a pseudo-input with the weight $w_k$ replaces the
    share $w_k$ of all examples. Weights are a softmax of `logits`, so that they stay positive and sum to 1.

    Args:
        dim: dimension of z.
        num_components: number K of pseudo-inputs.
        input_shape: shape of one example x.
        bounds: the least and the largest value that data can have, or None, as in `vamp`.
        initial_mean: mean of the pseudo-inputs that `init` draws, as in `vamp`.
        initial_scale: their standard deviation, as in `vamp`.
        initial_width: the standard deviation $\sigma$ that `init` gives.
        start: what `init_from_data` makes pseudo-inputs of, "examples" or "k-means", as in `vamp`; with k-means the
            weights start at the shares of the clusters, and else all equal.

    Context:
        encode: the encoder with its parameters, from x to q(z|x); a `VAE` passes its own.

    Returns:
        A prior with parameters `pseudo_inputs` [K, *input_shape], before the map into the bounds, `logits` [K] and
        `log_scale`, a scalar. Its KL is a Monte Carlo estimate.

    Raises:
        ValueError: an argument out of range, or an encoder into another dimension.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.weighted_coreset(2, 2, input_shape=(3,), bounds=None)
        >>> params = prior.init(jax.random.key(0)) | {"pseudo_inputs": jnp.array([[-3.0, -3.0, 0.0], [3.0, 3.0, 0.0]])}
        >>> encode = lambda x: vp.normal_diag(x[:2], jnp.ones(2))
        >>> print(f"{prior.apply(params, encode=encode).log_prob(jnp.array([-3.0, 3.0])):.3f}")
        -19.838

    References:
        Ai, He, Liu & Xu (2021), ByPE-VAE: Bayesian pseudocoresets exemplar VAE, section 3. There pseudo-inputs and
        weights alternate with the networks, and minimise the KL divergence from this prior to the exemplar prior of the
        training set; here all of them follow one objective. `vp.fit_prior` fits the prior alone.
    """
    check_positive_integer(dim=dim)
    check_positive(initial_width=initial_width)
    inner = vamp(
        num_components,
        input_shape,
        weights="learned",
        bounds=bounds,
        initial_mean=initial_mean,
        initial_scale=initial_scale,
        start=start,
    )

    def with_width(of_vamp: Any) -> Any:
        return of_vamp | {"log_scale": jnp.log(jnp.asarray(initial_width, of_vamp["logits"].dtype))}

    def params_of_vamp(params: Any) -> Any:
        return {name: params[name] for name in ("pseudo_inputs", "logits")}

    def init(key: jax.Array) -> Any:
        return with_width(inner.init(key))

    def apply(params: Any, *, encode: Callable[..., distrax.Distribution], **context: Any) -> IsotropicMixture:
        del context
        inputs = pseudo_inputs(inner, params_of_vamp(params))
        means = jax.vmap(mean_by(encode))(inputs)
        if means.shape[1:] != (dim,):
            raise ValueError(f"Expected an encoder of x into z of dim={dim}; its mean has the shape {means.shape[1:]}.")
        return IsotropicMixture(jax.nn.log_softmax(params["logits"]), means, jnp.exp(params["log_scale"]))

    def init_from_data(key: jax.Array, *, x: Any, **data: Any) -> Any:
        del data
        assert inner.init_from_data is not None
        return with_width(inner.init_from_data(key, x=x))

    return Prior(init, apply, {}, init_from_data, Inner(inner, params_of_vamp))
