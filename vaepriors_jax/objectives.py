"""Objectives for one example; `jax.vmap` makes the batch. All in nats."""

from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_choice, check_positive_integer
from vaepriors_jax.distributions.closed_forms import closed_form_kl
from vaepriors_jax.distributions.conversion import as_library_distribution
from vaepriors_jax.vae import VAE, VAEParams


class ELBO(NamedTuple):
    """The evidence lower bound of one example (or of many), in nats.

    Attributes:
        elbo: reconstruction - KL, whatever beta and free bits are.
        reconstruction: E_q[log p(x|z)].
        kl: KL(q(z|x) || p(z)).
        objective: reconstruction - beta * KL, the KL at least the free bits: what training maximises.
    """

    elbo: jax.Array
    reconstruction: jax.Array
    kl: jax.Array
    objective: jax.Array


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
    of independent Laplace or of independent von Mises variables; a power spherical distribution to the uniform one on
    the sphere. Closed forms that distrax and TFP hold for other pairs are not used.

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
            shapes that do not fit.
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
    check_choice("method", method, ("auto", "analytic", "monte_carlo"))
    batch_shape = _check_vectors(q, p)
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


def _check_event(likelihood: distrax.Distribution, x: jax.Array, log_prob_shape: tuple[int, ...] = ()) -> None:
    if tuple(likelihood.event_shape) != x.shape or log_prob_shape != ():
        raise ValueError(
            f"Expected the decoder's p(x|z) over one example of shape {x.shape}; got event_shape "
            f"{tuple(likelihood.event_shape)} (batch_shape {tuple(likelihood.batch_shape)}). Objectives take one "
            "example: map over the batch, and let the decoder give back a distribution over the whole of x, such as "
            "`vp.bernoulli(logits)`."
        )


def log_likelihood(vae: VAE, params: VAEParams, z: jax.Array, x: jax.Array, **context: Any) -> jax.Array:
    """log p(x|z) in nats for one z [dim] and one example x."""
    likelihood = vae.likelihood(params, z, **context)
    _check_event(likelihood, x)
    nats = likelihood.log_prob(x)
    _check_event(likelihood, x, jnp.shape(nats))
    return nats


def elbo(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: jax.Array,
    *,
    beta: float | jax.Array = 1.0,
    free_bits: float = 0.0,
    num_samples: int = 1,
    kl_method: str = "auto",
    **context: Any,
) -> ELBO:
    r"""Evidence lower bound of one example, $E_{q(z|x)}[\log p(x|z)] - KL(q(z|x) || p(z))$.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: one example.
        beta: weight of the KL in `objective`; it does not change `elbo`.
        free_bits: KL below this many nats costs nothing in `objective`.
        num_samples: number of samples of z, shared by reconstruction and Monte Carlo KL.
        kl_method: see `kl_divergence`.
        **context: what encoder, decoder and prior read beside x and z, such as `y=`.

    Returns:
        An `ELBO` of scalars, in nats.

    Raises:
        ValueError: shapes that do not fit, or no closed form where `kl_method="analytic"` asks for one.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(jnp.zeros(3)),
        ...     prior=vp.standard_normal(2))
        >>> print(vp.elbo(vae, vp.VAEParams({}, {}, {}), jax.random.key(0), jnp.ones(3)).elbo)
        -2.0794415

    References:
        Kingma & Welling (2014), eq. 3; beta: Higgins et al. (2017), eq. 4; free bits: Kingma et al. (2016), Improved
        variational inference with inverse autoregressive flow, eq. 15, here with one group of all dimensions and one
        example instead of the mean over a minibatch.
    """
    check_positive_integer(num_samples=num_samples)
    posterior = vae.posterior(params, x, **context)
    prior = vae.latent_prior(params, **context)
    z = posterior.sample(seed=key, sample_shape=num_samples)
    reconstruction = jnp.mean(jax.vmap(lambda z: log_likelihood(vae, params, z, x, **context))(z))
    kl = kl_divergence(posterior, prior, samples=z, method=kl_method)
    # Without free bits the KL is not clipped at 0: a Monte Carlo estimate may be negative, and clipped would be biased.
    charged = jnp.maximum(kl, free_bits) if free_bits else kl
    objective = reconstruction - beta * charged
    return ELBO(reconstruction - kl, reconstruction, kl, objective)


def log_importance_weights(
    vae: VAE,
    params: VAEParams,
    posterior: distrax.Distribution,
    prior: distrax.Distribution,
    key: jax.Array,
    x: jax.Array,
    num_samples: int,
    **context: Any,
) -> jax.Array:
    """log p(x|z) + log p(z) - log q(z|x) at samples of q: [num_samples], in nats."""
    z, log_q = posterior.sample_and_log_prob(seed=key, sample_shape=num_samples)
    log_p_x = jax.vmap(lambda z: log_likelihood(vae, params, z, x, **context))(z)
    return log_p_x + prior.log_prob(z) - log_q


def iwae(vae: VAE, params: VAEParams, key: jax.Array, x: jax.Array, *, num_samples: int, **context: Any) -> jax.Array:
    r"""Importance-weighted bound of one example, $\log \frac1S \sum_s p(x|z_s) p(z_s) / q(z_s|x)$.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: one example.
        num_samples: S; 1 gives a one-sample estimate of the ELBO.
        **context: what encoder, decoder and prior read beside x and z.

    Returns:
        The bound in nats, a scalar, to be maximised: its gradient weighs samples by their normalised weights.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(jnp.zeros(3)),
        ...     prior=vp.standard_normal(2))
        >>> print(vp.iwae(vae, vp.VAEParams({}, {}, {}), jax.random.key(0), jnp.ones(3), num_samples=10))
        -2.0794415

    References:
        Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, eqs. 8 and 14.
    """
    check_positive_integer(num_samples=num_samples)
    posterior = vae.posterior(params, x, **context)
    prior = vae.latent_prior(params, **context)
    log_weights = log_importance_weights(vae, params, posterior, prior, key, x, num_samples, **context)
    return jax.nn.logsumexp(log_weights) - jnp.log(num_samples)
