"""Objectives for one example, in nats; `jax.vmap` makes the batch."""

from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.distributions.diffusion_sde import check_density
from vaepriors_jax.distributions.kl_divergence import kl_divergence
from vaepriors_jax.distributions.kl_of_groups import kl_of_groups
from vaepriors_jax.distributions.normal import NormalDiag
from vaepriors_jax.distributions.spaces import check_same_space
from vaepriors_jax.importance_bound import importance_bound
from vaepriors_jax.likelihoods.pixelwise import Pixelwise
from vaepriors_jax.moved import moved_keywords
from vaepriors_jax.networks.variables import split
from vaepriors_jax.objective_options import DEFAULT, MOVED_OPTIONS, Objective, check_objective
from vaepriors_jax.reconstruction_constraint import error_of_example
from vaepriors_jax.trees import map_arrays
from vaepriors_jax.vae import VAE, VAEParams


class ELBO(NamedTuple):
    """The evidence lower bound of one example (or of many), in nats.

    Attributes:
        elbo: reconstruction - KL, without beta and free bits.
        reconstruction: E_q[log p(x|z)].
        kl: KL(q(z|x) || p(z)).
        objective: what training maximises: reconstruction - beta * max(KL, free bits), or the bound that the
            `Objective` names. A prior with a `log_hyperprior` adds it here.
        group_kl: the KL of each group of dimensions [G] with `free_bits_per_group`, and otherwise None.
        excess: the reconstruction error minus the largest that is allowed, with a `constraint`, and otherwise None.
    """

    elbo: jax.Array
    reconstruction: jax.Array
    kl: jax.Array
    objective: jax.Array
    group_kl: jax.Array | None = None
    excess: jax.Array | None = None


def _check_event(likelihood: distrax.Distribution, x: Any, log_prob_shape: tuple[int, ...] = ()) -> None:
    expected, event_shape = map_arrays(np.shape, x), map_arrays(tuple, likelihood.event_shape)
    if event_shape != expected or log_prob_shape != ():
        raise ValueError(
            f"Expected the decoder's p(x|z) over one example of shape {expected}; got event_shape "
            f"{event_shape} (batch_shape {tuple(likelihood.batch_shape)}). Objectives take one "
            "example: map over the batch, and let the decoder give back a distribution over the whole of x, such as "
            "`vp.bernoulli(logits)`."
        )


def log_likelihood(vae: VAE, params: VAEParams, z: jax.Array, x: Any, **context: Any) -> jax.Array:
    """log p(x|z) in nats for one z [dim] and one example x."""
    return log_prob_of_example(vae.likelihood(params, z, **context), x)


def score_example(likelihood: distrax.Distribution, x: Any, objective: Objective) -> tuple[jax.Array, jax.Array | None]:
    """The log-density in nats of one example, and its error if the objective has a constraint."""
    nats = log_prob_of_example(likelihood, x)
    constraint = objective.constraint
    return nats, None if constraint is None else error_of_example(constraint, likelihood, x, nats)


def log_prob_of_example(likelihood: distrax.Distribution, x: Any) -> jax.Array:
    """The log-density in nats of one example, or ValueError where the likelihood is over something else."""
    _check_event(likelihood, x)
    # Bijectors of TFP keep what they computed from an array, also in a trace that has ended: they get a new one.
    is_ours = isinstance(likelihood, (NormalDiag, Pixelwise))
    nats = likelihood.log_prob(x if is_ours else jax.tree.map(lambda part: jnp.array(part, copy=True), x))
    _check_event(likelihood, x, jnp.shape(nats))
    return nats


@moved_keywords(**MOVED_OPTIONS)
def elbo(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    objective: Objective = DEFAULT,
    **context: Any,
) -> ELBO:
    r"""Evidence lower bound of one example, $E_{q(z|x)}[\log p(x|z)] - KL(q(z|x) || p(z))$.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: one example.
        objective: options, such as `vp.Objective(num_samples=10)`. `beta` is a number here. It and `free_bits` change
            the term `objective` alone.
        **context: what encoder, decoder and prior read beside x and z, such as `y=`.

    Returns:
        An `ELBO` of scalars, in nats.

    Raises:
        ValueError: shapes that do not fit, no closed form where `kl_method="analytic"` asks for one, or an objective of
            a whole batch, such as one with `free_bits_per_group`.
        TypeError: a schedule as `beta`.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(jnp.zeros(3)),
        ...     prior=vp.standard_normal(2))
        >>> print(vp.elbo(vae, vp.VAEParams({}, {}, {}), jax.random.key(0), jnp.ones(3)).elbo)
        -2.0794415

    References:
        Kingma & Welling (2014), eq. 3. For the options see `Objective`.
    """
    check_objective(objective)
    if callable(objective.beta):
        raise TypeError(
            "Expected a number as `beta`: `elbo` knows no step; got a schedule. Pass its value at the step."
        )
    if objective.free_bits_per_group or objective.constraint:
        raise ValueError(
            "Expected an objective of one example; `free_bits_per_group` and `constraint` compare means over a batch. "
            "Pass them to `make_train_step` or `fit`, or use `free_bits` or `beta`."
        )
    return elbo_of_example(vae, params, key, x, objective, **context)


def elbo_of_example(vae: VAE, params: VAEParams, key: jax.Array, x: Any, objective: Objective, **context: Any) -> ELBO:
    """`elbo`, of which `charge_batch` completes the objective where that depends on the whole batch."""
    posterior = vae.posterior(params, x, **context)
    prior = vae.latent_prior(params, **context)
    return with_hyperprior(vae, params, elbo_of(posterior, prior, vae, params, key, x, objective, **context))


def elbo_of(
    posterior: distrax.Distribution,
    prior: distrax.Distribution,
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    objective: Objective = DEFAULT,
    **context: Any,
) -> ELBO:
    """`elbo`, given the posterior and the prior of the example."""

    def reconstruct(z: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        return jax.vmap(lambda z: score_example(vae.likelihood(params, z, **context), x, objective))(z)

    def weigh(z: jax.Array, q_has_gradient: bool) -> tuple[jax.Array, jax.Array]:
        q = posterior if q_has_gradient else vae.posterior(jax.lax.stop_gradient(params), x, **context)
        return reconstruct(z)[0], prior.log_prob(z) - q.log_prob(z)

    z = posterior.sample(seed=key, sample_shape=objective.num_samples)
    nats, error = jax.tree.map(jnp.mean, reconstruct(z))
    terms = terms_of(nats, error, *kl_terms(posterior, prior, z, objective), objective)
    if objective.bound == "elbo":
        return terms
    check_weighed(posterior, prior)
    return terms._replace(objective=importance_bound(weigh, z, objective.beta, objective.gradient))


def kl_terms(
    posterior: distrax.Distribution, prior: distrax.Distribution, z: jax.Array, objective: Objective
) -> tuple[jax.Array, jax.Array | None]:
    """The KL of one example, with samples z [S, dim]; and that of each group [G], if the objective has groups."""
    if not objective.free_bits_per_group:
        return kl_divergence(posterior, prior, samples=z, method=objective.kl_method), None
    groups = kl_of_groups(posterior, prior, z, objective.group_sizes, method=objective.kl_method)
    return jnp.sum(groups), groups


def terms_of(
    reconstruction: jax.Array,
    error: jax.Array | None,
    kl: jax.Array,
    group_kl: jax.Array | None,
    objective: Objective,
) -> ELBO:
    """The terms of the ELBO, for one example or many; `beta` is a number here."""
    if objective.constraint is not None and error is not None:
        excess = error - objective.constraint.max_error
        return ELBO(elbo=reconstruction - kl, reconstruction=reconstruction, kl=kl, objective=-kl, excess=excess)
    beta: Any = objective.beta
    free_bits = objective.free_bits
    # Without free bits the KL is not clipped at 0: a Monte Carlo estimate may be negative, and clipped would be biased.
    charged = jnp.maximum(kl, free_bits) if free_bits else kl
    if objective.free_bits_per_group:
        charged = jnp.zeros_like(kl)  # what it costs depends on the whole batch: see `charge_batch`
    return ELBO(reconstruction - kl, reconstruction, kl, reconstruction - beta * charged, group_kl)


def charge_batch(
    terms: ELBO, objective: Objective, weight: jax.Array | None = None, multiplier: jax.Array | None = None
) -> ELBO:
    """Completes the objective [B] of the examples of a batch, where it depends on more than the example.

    Its mean over the batch, with the weights [B] of examples, is then what training maximises. A constraint comes with
    its present multiplier.
    """
    if terms.excess is not None and multiplier is not None:
        return terms._replace(objective=terms.objective - multiplier * terms.excess)
    if terms.group_kl is None:
        return terms
    floor = objective.free_bits_per_group
    # A group above the floor costs each example its own KL, so that the mean cost is the maximum of the means.
    above = weighted_mean(terms.group_kl, weight) > floor
    charged = jnp.sum(jnp.where(above, terms.group_kl, floor), axis=-1)
    beta: Any = objective.beta
    return terms._replace(objective=terms.objective - beta * charged)


def with_hyperprior(vae: VAE, params: VAEParams, terms: ELBO) -> ELBO:
    """The terms with the prior's `log_hyperprior` in the objective, if it has one."""
    if vae.prior.log_hyperprior is None:
        return terms
    return terms._replace(objective=terms.objective + vae.prior.log_hyperprior(split(params.prior)[0]))


def weighted_mean(values: jax.Array, weight: jax.Array | None = None) -> jax.Array:
    r"""The mean of values [N, ...] over examples, $\sum_n w_n f_n / \sum_n w_n$ where they have weights [N].

    Values of weight 0 count nothing, whatever they are. The mean of such values alone is 0.
    """
    if weight is None:
        return jnp.mean(values, axis=0)
    weight = weight.astype(jnp.promote_types(values.dtype, jnp.float32))
    weight = weight.reshape(-1, *[1] * (values.ndim - 1))
    total = jnp.sum(weight)
    weighted = jnp.sum(jnp.where(weight > 0, weight * values, 0), axis=0)
    return (weighted / jnp.where(total > 0, total, 1)).astype(values.dtype)


def check_weighed(posterior: distrax.Distribution, prior: distrax.Distribution) -> None:
    """Raises ValueError unless p(z) / q(z|x) is a ratio of densities over one space."""
    check_same_space(posterior, prior)
    check_density(prior)


def log_importance_weights(
    vae: VAE,
    params: VAEParams,
    posterior: distrax.Distribution,
    prior: distrax.Distribution,
    key: jax.Array,
    x: Any,
    num_samples: int,
    **context: Any,
) -> jax.Array:
    """log p(x|z) + log p(z) - log q(z|x) at samples of q: [num_samples], in nats."""
    check_weighed(posterior, prior)
    z, log_q = posterior.sample_and_log_prob(seed=key, sample_shape=num_samples)
    log_p_x = jax.vmap(lambda z: log_likelihood(vae, params, z, x, **context))(z)
    return log_p_x + prior.log_prob(z) - log_q


def iwae(vae: VAE, params: VAEParams, key: jax.Array, x: Any, *, num_samples: int, **context: Any) -> jax.Array:
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
