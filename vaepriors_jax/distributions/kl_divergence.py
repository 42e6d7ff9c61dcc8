"""KL(q || p): in closed form where one is known, otherwise by Monte Carlo."""

from typing import Any

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_choice, check_positive_integer
from vaepriors_jax.distributions.closed_forms import closed_form_kl
from vaepriors_jax.distributions.conversion import as_library_distribution
from vaepriors_jax.distributions.spaces import check_same_space

KL_METHODS = ("auto", "analytic", "monte_carlo")


def kl_divergence(
    q: distrax.Distribution,
    p: distrax.Distribution,
    *,
    samples: jax.Array | None = None,
    key: jax.Array | None = None,
    num_samples: int = 1,
    method: str = "auto",
) -> jax.Array:
    r"""KL(q || p) in nats: a closed form for the pairs below, else $\frac1S \sum_s \log q(z_s) - \log p(z_s)$.

    Closed forms: two Gaussians, diagonal or with a full covariance, in any spelling of distrax and of TFP; two vectors
    of independent Laplace or of independent von Mises variables; a diagonal Gaussian to independent Laplace variables,
    and to the chains of `autoregressive_normal`; a power spherical distribution to the uniform one on the sphere; two
    logistic-normal or two Dirichlet distributions.
    Closed forms that distrax and TFP hold for other pairs are not used.

    Args:
        q: a distrax or TFP distribution over one z [dim], or a batch of them of any batch shape.
        p: another, of any batch shape that broadcasts with q's.
        samples: samples of q [S, *batch_shape of q, dim] for the Monte Carlo estimate.
        key: a key to draw `num_samples` of them, where `samples` is not given.
        num_samples: S.
        method: "auto", "analytic" or "monte_carlo".

    Returns:
        The KL, a scalar; for batches one of each pair, of the shape to which the two batch shapes broadcast.

    Raises:
        ValueError: `method="analytic"` where there is no closed form; a Monte Carlo estimate without samples and key;
            shapes that do not fit; distributions over different spaces, such as R^n and the sphere.
        TypeError: q or p is not a distribution.

    Example:
        >>> import distrax, jax.numpy as jnp, vaepriors_jax as vp
        >>> q, p = vp.normal_diag(jnp.ones(2), jnp.ones(2)), vp.standard_normal(2).apply({})
        >>> print(vp.kl_divergence(q, p))
        1.0
        >>> batch = distrax.MultivariateNormalDiag(jnp.array([[1.0, 1.0], [2.0, 0.0]]), jnp.ones((2, 2)))
        >>> print(vp.kl_divergence(batch, p))
        [1. 2.]
    """
    check_choice("method", method, KL_METHODS)
    batch_shape = _check_vectors(q, p)
    check_same_space(q, p)
    q, p = as_library_distribution(q), as_library_distribution(p)
    exact = closed_form_kl(q, p) if method != "monte_carlo" else None
    if exact is not None:
        return exact
    if method == "analytic":
        raise ValueError(
            f"No closed form of KL({q.name} || {p.name}) is known. Use `method='auto'` or `method='monte_carlo'`."
        )
    if samples is None:
        if key is None:
            raise ValueError(
                f"KL({q.name} || {p.name}) is a Monte Carlo estimate: pass `samples=` from q, or a `key=` to draw them."
            )
        check_positive_integer(num_samples=num_samples)
        samples = q.sample(seed=key, sample_shape=num_samples)
    return _monte_carlo_kl(q, p, jnp.asarray(samples), batch_shape)


def _monte_carlo_kl(
    q: distrax.Distribution, p: distrax.Distribution, samples: jax.Array, batch_shape: tuple[int, ...]
) -> jax.Array:
    """The mean of log q - log p over samples of q [S, *batch_shape of q, dim]: [*batch_shape]."""
    num_samples = samples.shape[0] if samples.ndim else 0
    expected = (*q.batch_shape, *q.event_shape)
    if samples.shape != (num_samples, *expected):
        raise ValueError(f"Expected `samples` of q of shape {['S', *expected]}; got {list(samples.shape)}.")
    log_q = q.log_prob(samples)
    missing = len(batch_shape) - len(q.batch_shape)
    log_q = log_q.reshape(num_samples, *(1,) * missing, *q.batch_shape)
    if p.batch_shape:
        samples = samples.reshape(num_samples, *(1,) * missing, *expected)
        samples = jnp.broadcast_to(samples, (num_samples, *batch_shape, *p.event_shape))
    return jnp.mean(log_q - p.log_prob(samples), axis=0)


def _check_vectors(q: Any, p: Any) -> tuple[int, ...]:
    """Returns the batch shape of KL(q || p), or raises ValueError unless both are over vectors of one size."""
    for name, distribution in (("q", q), ("p", p)):
        if not hasattr(distribution, "log_prob"):
            raise TypeError(f"Expected {name} to be a distrax or TFP distribution; got {type(distribution).__name__}.")
        if len(distribution.event_shape) != 1:
            raise ValueError(
                f"Expected {name} to be over one vector, with event_shape (dim,); got batch_shape "
                f"{tuple(distribution.batch_shape)} and event_shape {tuple(distribution.event_shape)} from "
                f"{type(distribution).__name__}. For a batch, map over it or pass for instance "
                "`distrax.MultivariateNormalDiag(loc, scale)` with loc [B, dim]; `vp.normal_diag(loc, scale)` is one "
                "distribution over the whole of loc."
            )
    if tuple(q.event_shape) != tuple(p.event_shape):
        raise ValueError(
            f"Expected q and p over vectors of one size; got {tuple(q.event_shape)} and {tuple(p.event_shape)}. Give "
            "the prior the encoder's latent dimension."
        )
    try:
        return jnp.broadcast_shapes(tuple(q.batch_shape), tuple(p.batch_shape))
    except ValueError:
        raise ValueError(
            f"Expected batch shapes of q and p that broadcast; got {tuple(q.batch_shape)} and {tuple(p.batch_shape)}."
        ) from None
