"""Objectives for one example, in nats; `jax.vmap` makes the batch."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from vaepriors_jax.checks import check_choice, check_not_negative, check_positive_integer, check_precision, check_shape
from vaepriors_jax.distributions.kl_divergence import KL_METHODS, kl_divergence
from vaepriors_jax.distributions.kl_of_groups import kl_of_groups
from vaepriors_jax.distributions.normal import NormalDiag
from vaepriors_jax.distributions.spaces import check_same_space
from vaepriors_jax.importance_bound import BOUNDS, GRADIENTS, importance_bound
from vaepriors_jax.likelihoods.pixelwise import Pixelwise
from vaepriors_jax.moved import moved_keywords
from vaepriors_jax.networks.variables import split
from vaepriors_jax.reconstruction_constraint import ReconstructionConstraint, error_of_example
from vaepriors_jax.trees import map_arrays
from vaepriors_jax.vae import VAE, VAEParams


@dataclass(frozen=True)
class Objective:
    r"""The options of the training objective: the ELBO with a weighted KL, or the importance-weighted bound.

    `elbo`, `make_train_step` and `fit` take them as `objective=`. With the defaults the objective is the ELBO. To
    change some options of an objective, use `dataclasses.replace(objective, beta=0.5)`.

    Attributes:
        beta: weight of the KL, >= 0. `make_train_step` and `fit` also take a schedule, a function of the step, such as
            `optax.linear_schedule(0.0, 1.0, 1000)`, or cyclical with a period of P steps (Fu et al., 2019),
            `lambda step: jnp.minimum(1.0, 2 * (step % P) / P)`; `fit` also takes one weight for each replica [R].
        free_bits: a KL of an example below this many nats costs nothing, so that the latents are not switched off early
            in training. All dimensions together have this allowance.
        free_bits_per_group: the same for each group of dimensions, of the mean over the batch: the KL costs
            $\sum_j \max(\lambda, \mathrm{mean}_x\, KL_j)$, so that no group is switched off. With weights of examples
            the mean is the weighted one. It is for `make_train_step` and `fit`, which know the batch.
        group_sizes: the sizes of the groups of consecutive dimensions, such as (16, 16) for z [32]; None for one group
            for each dimension. A group of its own needs a KL of its own: posterior and prior must be independent
            between dimensions, as diagonal Gaussians are, or `TwoLevel` distributions, with one group for each level
            (bottom, top). For any other prior, such as a mixture or a flow, a single group (dim,) compares the mean
            over the batch of the whole KL. Where a KL is a Monte Carlo estimate, the cost is too high on average near
            the allowance, since the maximum of an estimate is.
        constraint: a `vp.ReconstructionConstraint`. Training then minimises the KL under it, by a multiplier that is
            part of the train state, in place of a `beta`. It is for `make_train_step` and `fit`.
        num_samples: samples of z for each example. Reconstruction and Monte Carlo KL share them.
        kl_method: "analytic", "monte_carlo", or "auto" for the closed form where `kl_divergence` knows one.
        warmup_epochs: in `fit`, the weight of the KL rises linearly from 0 and is exactly `beta` from the end of this
            epoch on.
        bound: "elbo", or "iwae" for the importance-weighted bound of the `num_samples` samples,
            $\log \frac1S \sum_s w_s$ with $\log w_s = \log p(x|z_s) + \beta (\log p(z_s) - \log q(z_s|x))$. It is at
            least the ELBO, and tighter the more samples. The metrics `elbo`, `reconstruction` and `kl` stay what they
            are.
        gradient: how the gradient of "iwae" is estimated. "reparameterized" is that of the bound at the samples, whose
            signal for the encoder drowns in noise as samples get more. "doubly_reparameterized" (DReG) has the same
            expectation and no such loss.

    Raises:
        ValueError: an option out of range, or one that does not fit the bound.

    Example:
        >>> import vaepriors_jax as vp
        >>> vp.Objective(beta=0.5, warmup_epochs=10).warmup_epochs
        10
        >>> iwae = vp.Objective(bound="iwae", num_samples=10, gradient="doubly_reparameterized")

    References:
        beta: Higgins et al. (2017), eq. 4. Warm-up: Sonderby et al. (2016), Ladder variational autoencoders. Cycles: Fu
        et al. (2019), Cyclical annealing schedule: a simple approach to mitigating KL vanishing. Free bits:
        Kingma et al. (2016), Improved variational inference with inverse autoregressive flow, eq. 15:
        `free_bits_per_group` is that of the paper; `free_bits` has one group of all dimensions, and one example instead
        of the mean over a minibatch. "iwae": Burda, Grosse &
        Salakhutdinov (2016), Importance weighted autoencoders, eq. 8. "doubly_reparameterized": Tucker et al. (2019),
        Doubly reparameterized gradient estimators for Monte Carlo objectives, eq. 8, here for any beta; the decoder and
        the prior, with what the prior reads of the encoder, keep the gradient of "reparameterized".
    """

    beta: float | jax.Array | Callable[[jax.Array], Any] = 1.0
    free_bits: float = 0.0
    num_samples: int = 1
    kl_method: str = "auto"
    warmup_epochs: int = 0
    bound: str = "elbo"
    gradient: str = "reparameterized"
    free_bits_per_group: float = 0.0
    group_sizes: tuple[int, ...] | None = None
    constraint: ReconstructionConstraint | None = None

    def __post_init__(self) -> None:
        """Checks all options but a schedule, which `make_train_step` and `fit` call to check it."""
        if not (callable(self.beta) or isinstance(self.beta, Tracer)):
            check_not_negative(beta=self.beta)
            check_precision("argument `beta`", self.beta)
        check_not_negative(free_bits=self.free_bits, warmup_epochs=self.warmup_epochs)
        self._check_groups()
        self._check_constraint()
        if self.warmup_epochs:
            check_positive_integer(warmup_epochs=self.warmup_epochs)
        check_positive_integer(num_samples=self.num_samples)
        check_choice("kl_method", self.kl_method, KL_METHODS)
        check_choice("bound", self.bound, BOUNDS)
        check_choice("gradient", self.gradient, GRADIENTS)
        if self.bound == "iwae" and (bits := self.free_bits or self.free_bits_per_group):
            raise ValueError(f'Expected no `free_bits` with bound="iwae", which has no KL term; got {bits}.')
        if self.bound == "elbo" and self.gradient != "reparameterized":
            raise ValueError(f'Expected bound="iwae" with gradient="{self.gradient}"; got bound="elbo".')

    def _check_groups(self) -> None:
        check_not_negative(free_bits_per_group=self.free_bits_per_group)
        if self.free_bits and self.free_bits_per_group:
            raise ValueError(
                f"Expected one of `free_bits` (of the whole KL of an example) and `free_bits_per_group`; got both, "
                f"{self.free_bits} and {self.free_bits_per_group}."
            )
        if self.group_sizes is None:
            return
        if not self.free_bits_per_group:
            raise ValueError(f"Expected `free_bits_per_group` > 0 with `group_sizes`; got {self.group_sizes} alone.")
        object.__setattr__(self, "group_sizes", check_shape("group_sizes", self.group_sizes))

    def _check_constraint(self) -> None:
        if self.constraint is None:
            return
        if not isinstance(self.constraint, ReconstructionConstraint):
            raise TypeError(
                f"Expected `constraint` as a `vp.ReconstructionConstraint(max_error=...)`; got {self.constraint!r}."
            )
        has_weight = callable(self.beta) or (not isinstance(self.beta, Tracer) and np.any(np.asarray(self.beta) != 1))
        other = {"beta": has_weight, "warmup_epochs": self.warmup_epochs, "bound": self.bound != "elbo"}
        other |= {"free_bits": self.free_bits, "free_bits_per_group": self.free_bits_per_group}
        if taken := [name for name, given in other.items() if given]:
            raise ValueError(
                f"Expected no {', '.join(map(repr, taken))} beside `constraint`, whose multiplier weighs the KL."
            )


def check_objective(objective: Any) -> None:
    """Raises TypeError unless it is an `Objective`."""
    if not isinstance(objective, Objective):
        raise TypeError(f"Expected `objective` as an object such as `vp.Objective(beta=0.5)`; got {objective!r}.")


def with_python_numbers(objective: Objective) -> Objective:
    """The same objective with numbers of Python, beta apart: equal objectives then share one compiled program."""
    free_bits, per_group = float(objective.free_bits), float(objective.free_bits_per_group)
    return replace(objective, free_bits=free_bits, free_bits_per_group=per_group)


# The ELBO itself.
DEFAULT = Objective()

# Options that functions took one by one in earlier versions, and how they are passed now.
MOVED_OPTIONS = {name: f"objective=vp.Objective({name}=...)" for name in Objective.__dataclass_fields__}


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
    check_same_space(posterior, prior)
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
    check_same_space(posterior, prior)
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
