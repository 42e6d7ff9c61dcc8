"""The VampPrior mixture model: a Dirichlet-process mixture with means at the encodings of pseudo-inputs."""

from collections.abc import Callable
from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import Inner, Prior
from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.distributions.diagonal_mixture import DiagonalMixture
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.stick_breaking import log_prob_of_sticks, log_weights_of, sticks_of
from vaepriors_jax.priors.vamp import vamp


@factory
def vamp_mixture(
    dim: int,
    num_components: int,
    input_shape: tuple[int, ...],
    num_examples: int,
    *,
    concentration: float | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    initial_mean: float = 0.5,
    initial_scale: float = 0.1,
    start: str = "examples",
) -> Prior:
    r"""VampPrior mixture model: $p(z) = \sum_k w_k \int \mathcal{N}(z; m, \mathrm{diag}(\sigma_k^2))\, q(m|u_k)\, dm$.

    The mean m of each component has the encoder's posterior at a learned pseudo-input u_k as its distribution. For a
    diagonal Gaussian q(z|x) with mean $\mu(x)$ and scale $s(x)$ the integral is
    $\mathcal{N}(z; \mu(u_k), \mathrm{diag}(\sigma_k^2 + s(u_k)^2))$. A component is thus wider than q(z|u_k), and can
    hold a whole cluster of examples.

    The weights are those of a Dirichlet process, truncated at K components: $w_k = v_k \prod_{j<k} (1 - v_j)$, with
    $v_k \sim \mathrm{Beta}(1, \alpha)$. A small $\alpha$ prefers few components. The sticks $s_k$, the logits
    of $v_k$, are estimated by their maximum a posteriori: training adds
    $\frac1N \log p(s|\alpha)$ to the objective of each example, for N = `num_examples`. With $n_k$ examples in
    component k this gives $v_k = (n_k + 1) / (n_k + n_{k+1} + \dots + n_K + 1 + \alpha)$. The term is in no ELBO and no
    log p(x), where the weights are what they are.

    Args:
        dim: dimension of z.
        num_components: number K at which the process is truncated.
        input_shape: shape of one example x.
        num_examples: number N of training examples. A smaller number makes the term count for more.
        concentration: $\alpha > 0$; a small one prefers few components. None integrates over an unknown
            $\alpha \sim \mathrm{Gamma}(1, 1)$.
        bounds: the least and the largest value that data can have, or None, as in `vamp`.
        initial_mean: mean of the pseudo-inputs that `init` draws, as in `vamp`.
        initial_scale: their standard deviation, as in `vamp`.
        start: what `init_from_data` makes pseudo-inputs of, "examples" or "k-means", as in `vamp`; with k-means the
            weights start at the shares of the clusters, and else all equal.

    Context:
        encode: the encoder with its parameters, from x to q(z|x), a diagonal Gaussian; a `VAE` passes its own.

    Returns:
        A prior with parameters `pseudo_inputs` [K, *input_shape], before the map into the bounds, `log_scale` [K, dim]
        and `sticks` [K - 1]. Its KL is a Monte Carlo estimate. `vp.mixture_assignments` gives the component of each
        example.

    Raises:
        ValueError: an argument out of range, or a posterior that is no diagonal Gaussian over `dim` dimensions.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.vamp_mixture(2, 5, input_shape=(4,), num_examples=1000)
        >>> params = prior.init(jax.random.key(0))
        >>> encode = lambda x: vp.normal_diag(x[:2], jnp.ones(2))
        >>> prior.apply(params, encode=encode).log_prob(jnp.zeros(2)).shape
        ()
        >>> print(f"{prior.log_hyperprior(params):.4f}")  # in nats per example
        -0.0064

    References:
        Stirn & Knowles (2024), The VampPrior mixture model. There covariances are full, with a Wishart prior; means
        have a prior N(0, I); the Dirichlet process is replaced by a symmetric Dirichlet distribution over K weights;
        and steps of the VAE alternate with steps of the prior, whose terms are divided by the size of the minibatch.
        Sticks: Sethuraman (1994), A constructive definition of Dirichlet priors; Ishwaran & James (2001), Gibbs
        sampling methods for stick-breaking priors, section 3.2 (truncation).
    """
    check_positive_integer(dim=dim, num_components=num_components, num_examples=num_examples)
    if concentration is not None:
        check_positive(concentration=concentration)
    inner = vamp(
        num_components,
        input_shape,
        weights="learned",
        bounds=bounds,
        initial_mean=initial_mean,
        initial_scale=initial_scale,
        start=start,
    )

    def params_from(of_vamp: Any) -> Any:
        inputs, sticks = of_vamp["pseudo_inputs"], sticks_of(jax.nn.log_softmax(of_vamp["logits"]))
        return {"pseudo_inputs": inputs, "sticks": sticks, "log_scale": jnp.zeros((num_components, dim), inputs.dtype)}

    def params_of_vamp(params: Any) -> Any:
        return {"pseudo_inputs": params["pseudo_inputs"], "logits": log_weights_of(params["sticks"])}

    def init(key: jax.Array) -> Any:
        return params_from(inner.init(key))

    def apply(params: Any, *, encode: Callable[..., distrax.Distribution], **context: Any) -> DiagonalMixture:
        del context
        encoded = inner.apply(params_of_vamp(params), encode=encode)
        if not isinstance(encoded, DiagonalMixture) or encoded.event_shape != (dim,):
            raise ValueError(
                f"Expected an encoder that gives diagonal Gaussians over z [{dim}], as `dim` of `vamp_mixture` says; "
                f"its posteriors are over {list(encoded.event_shape)}, or of another kind. Use `vp.vamp` for others."
            )
        loc, scale = encoded.parameters
        return DiagonalMixture(encoded.log_weights, loc, jnp.sqrt(scale**2 + jnp.exp(2 * params["log_scale"])))

    def init_from_data(key: jax.Array, *, x: Any, **data: Any) -> Any:
        del data
        assert inner.init_from_data is not None
        return params_from(inner.init_from_data(key, x=x))

    def log_hyperprior(params: Any) -> jax.Array:
        return log_prob_of_sticks(params["sticks"], concentration) / num_examples

    return Prior(init, apply, {}, init_from_data, Inner(inner, params_of_vamp), log_hyperprior=log_hyperprior)
