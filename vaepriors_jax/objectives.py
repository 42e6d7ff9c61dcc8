"""Objectives for one example; `jax.vmap` makes the batch. All in nats."""

from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.base import VAE, VAEParams
from vaepriors_jax.checks import check_choice, check_positive_integer
from vaepriors_jax.distributions import is_normal_diag, location_and_scale, normalize_posterior


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


def _analytic_kl(q: distrax.Distribution, p: distrax.Distribution) -> jax.Array | None:
    """The closed form, or None where there is none."""
    if is_normal_diag(q) != is_normal_diag(p):  # distrax knows Gaussians of the same kind only
        q, p = (distrax.MultivariateNormalDiag(*location_and_scale(d)) if is_normal_diag(d) else d for d in (q, p))
    try:
        return q.kl_divergence(p)
    except NotImplementedError:
        return None


def kl_divergence(
    q: distrax.Distribution,
    p: distrax.Distribution,
    *,
    samples: jax.Array | None = None,
    key: jax.Array | None = None,
    num_samples: int = 1,
    method: str = "auto",
) -> jax.Array:
    r"""KL(q || p) in nats: the closed form where one exists, otherwise $\frac1S \sum_s \log q(z_s) - \log p(z_s)$.

    Args:
        q: a distribution over one z [dim].
        p: another.
        samples: samples of q [S, dim] for the Monte Carlo estimate.
        key: a key to draw `num_samples` of them, where `samples` is not given.
        num_samples: S.
        method: "auto", "analytic" or "monte_carlo".

    Returns:
        The KL, a scalar.

    Raises:
        ValueError: `method="analytic"` where there is no closed form; a Monte Carlo estimate without samples and key.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> q, p = vp.normal_diag(jnp.ones(2), jnp.ones(2)), vp.standard_normal(2).apply({})
        >>> print(vp.kl_divergence(q, p))
        1.0
    """
    check_choice("method", method, ("auto", "analytic", "monte_carlo"))
    q, p = normalize_posterior(q), normalize_posterior(p)
    if q.event_shape != p.event_shape:
        raise ValueError(
            f"Expected q and p over vectors of one size; got {q.event_shape} and {p.event_shape}. Give the prior the "
            "encoder's latent dimension."
        )
    exact = _analytic_kl(q, p) if method != "monte_carlo" else None
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
    return jnp.mean(q.log_prob(samples) - p.log_prob(samples))


def _check_event(likelihood: distrax.Distribution, x: jax.Array) -> None:
    if tuple(likelihood.event_shape) != x.shape:
        raise ValueError(
            f"Expected the decoder's p(x|z) over one example of shape {x.shape}; got event_shape "
            f"{tuple(likelihood.event_shape)} (batch_shape {likelihood.batch_shape}). Objectives take one example: map "
            "over the batch, and let the decoder give back a distribution over the whole of x, such as "
            "`vp.bernoulli(logits)`."
        )


def log_likelihood(vae: VAE, params: VAEParams, z: jax.Array, x: jax.Array, **context: Any) -> jax.Array:
    """log p(x|z) in nats for one z [dim] and one example x."""
    likelihood = vae.likelihood(params, z, **context)
    _check_event(likelihood, x)
    return likelihood.log_prob(x)


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
