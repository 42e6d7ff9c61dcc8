"""A flow-matching prior: the probability-flow ODE of a learned velocity, diffusion models included."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import (
    check_choice,
    check_key,
    check_positive,
    check_positive_integer,
    check_shape,
    rows_of_shape,
)
from vaepriors_jax.conditioning import Condition, Conditioner, check_condition
from vaepriors_jax.distributions.normal import LARGEST_LOG_SCALE
from vaepriors_jax.distributions.numerics import full_precision
from vaepriors_jax.distributions.probability_flow import ProbabilityFlow, Solver
from vaepriors_jax.factories import factory
from vaepriors_jax.priors.init_from_data import as_params
from vaepriors_jax.priors.velocity import PATHS, Conditional, LearnedVelocity
from vaepriors_jax.priors.weighting import key_of

TIGHTER = 0.1  # the tolerance of the reference to which a density is compared, relative to its own


@factory
def flow_matching(
    dim: int,
    *,
    hidden: tuple[int, ...] = (128, 128),
    path: str = "linear",
    tolerance: float = 1e-5,
    num_probes: int | None = None,
    num_classes: int | None = None,
    condition_dim: int | None = None,
    condition: str = "y",
) -> Prior:
    r"""Flow-matching prior: $z = \mu + \sigma u_1$, where $du_t/dt = v(u_t, t)$ and $u_0 \sim \mathcal{N}(0, I)$.

    Its density is $\log p(z) = \log \mathcal{N}(u_0; 0, I) - \int_0^1 \nabla \cdot v(u_t, t)\, dt - \sum_i \log
    \sigma_i$. The network v is the velocity, and $u_t$ the path that ends at $u_1 = (z - \mu) / \sigma$. The package
    diffrax solves the ODE: it comes with the extra `diffrax`.

    **Train it after the VAE**, by `vp.fit_prior`. That solves no ODE: v regresses $\dot\alpha_t u_1 + \dot\beta_t
    \epsilon$ at $u_t = \alpha_t u_1 + \beta_t \epsilon$, for encodings $u_1$ and noise $\epsilon$. With "linear"
    $\alpha_t = t$ and $\beta_t = 1 - t$: conditional flow matching, or rectified flow. With "cosine" $\alpha_t =
    \sin(\pi t / 2)$ and $\beta_t = \cos(\pi t / 2)$: a variance-preserving diffusion model with the cosine schedule and
    v-prediction, and the density of its probability-flow ODE. The density is that of the ODE for every v. Training with
    the VAE maximises the ELBO itself; it solves the ODE, and differentiates through it, for each z.

    **The density has errors**: that of the solver, and with `num_probes` that of Hutchinson's estimate of the
    divergence, which is the larger one by far and makes p(z) too large in expectation. `vp.init_prior_state` measures
    both on samples of the prior; `fit_prior` does so at its end, and after training with the VAE you call it once more.
    `vp.log_marginal` and all reports say what the errors mean for log p(x).

    Args:
        dim: dimension of z.
        hidden: widths of the hidden layers of the network.
        path: "linear" or "cosine".
        tolerance: relative and absolute tolerance of a step of the solver.
        num_probes: None for the exact divergence, which takes dim products with the Jacobian of v; or the number of
            vectors of random signs in Hutchinson's estimate, which takes so many. They are the same for all z, so that
            errors at neighbouring z are alike, and do not average out; each training step draws others.
        num_classes: if given, the network reads a label `y`: p(z|y), with one $\mu$ and $\sigma$ for all labels.
        condition_dim: if given, the network reads a vector `y` [condition_dim].
        condition: the name of y: the entry of the batch that holds it.

    Context:
        y: the label or vector, if the prior is conditional; or an entry of the name that `condition` gives.
        normalizer: 1, the integral of a density without errors, in the prior's state.
        normalizer_error: root mean square errors of log p(z) in nats [2], in the prior's state: that of the solver,
            against a tenth of `tolerance`, and that of the estimated divergence, against the exact one. They are
            measured at 256 samples, or `vp.init_prior_state(vae, params, num_points=...)`: of all labels in turn, of
            vectors from N(0, I), or of conditions drawn from the data, with `vp.init_prior_state(vae, params, y=y)`.
        normalizer_key: two words from which the vectors of signs are made, in the prior's state.

    Returns:
        A prior with the parameters `network`, `loc` and `log_scale` [dim]. It starts as a Gaussian: v starts at 0. A
        start from data takes mean and standard deviation of encodings z. Its KL is a Monte Carlo estimate. Samples
        are those of the ODE: they have its density, and carry gradients. With "cosine" the distribution has
        `sample_sde`, too, for samples of the SDE, which have another density.

    Raises:
        ValueError: an argument out of range.
        ImportError: diffrax is not installed. The state, the density and samples need it.

    Example:
        >>> import jax, vaepriors_jax as vp
        >>> prior = vp.flow_matching(2, hidden=(32,))
        >>> params = prior.init(jax.random.key(0))
        >>> params["network"]["Dense_0"]["kernel"].shape  # z, the time, and 8 waves of it
        (11, 32)

    References:
        Lipman, Chen, Ben-Hamu, Nickel & Le (2023), Flow matching for generative modeling, section 4; Liu, Gong & Liu
        (2023), Flow straight and fast, section 2 (the linear path); Nichol & Dhariwal (2021), Improved denoising
        diffusion probabilistic models, section 3.2 (the cosine schedule); Salimans & Ho (2022), Progressive
        distillation for fast sampling of diffusion models, appendix D (v-prediction); Song, Sohl-Dickstein, Kingma,
        Kumar, Ermon & Poole (2021), Score-based generative modeling through stochastic differential equations, section
        4.3 (the density of the ODE); Grathwohl, Chen, Bettencourt, Sutskever & Duvenaud (2019), FFJORD, section 3
        (Hutchinson's estimate).
    """
    check_positive_integer(dim=dim, **({} if num_probes is None else {"num_probes": num_probes}))
    check_choice("path", path, PATHS)
    check_positive(tolerance=tolerance)
    # No `parent`: the network does not belong to a Linen module that calls the factory.
    velocity = LearnedVelocity(Conditioner(check_shape("hidden", hidden), dim, parent=None), path)
    read = Condition(num_classes, condition_dim, condition)
    check_condition(*read, required=False)
    density = _Density(velocity, dim, tolerance, num_probes, read)

    def init(key: jax.Array) -> Any:
        return {
            "network": velocity.init(key, dim, read.placeholder()),
            "loc": jnp.zeros(dim),
            "log_scale": jnp.zeros(dim),
        }

    def apply(
        params: Any, *, normalizer: Any, normalizer_error: Any, normalizer_key: Any, **context: Any
    ) -> ProbabilityFlow:
        del normalizer_error
        probes = density.probes(normalizer_key, jnp.promote_types(params["loc"].dtype, jnp.float32))
        return density.distribution(params, read.vector(context), tolerance, probes, normalizer)

    def init_from_data(key: jax.Array, *, z: Any, **data: Any) -> Any:
        del data
        rows = rows_of_shape("z", z, (dim,)).astype(np.float64)
        moments = {"loc": rows.mean(0), "log_scale": np.log(np.maximum(rows.std(0), 1e-6))}
        return init(key) | as_params(moments)

    renewed = None if num_probes is None else density.update_state
    return Prior(init, apply, {}, init_from_data, None, density.init_state, renewed)


class _Density(NamedTuple):
    """The density of a velocity, and its errors."""

    velocity: LearnedVelocity
    dim: int
    tolerance: float
    num_probes: int | None
    read: Condition

    def probes(self, words: Any, dtype: Any) -> jax.Array | None:
        """Vectors of random signs [num_probes, dim]; None for the exact divergence."""
        if self.num_probes is None:
            return None
        return jax.random.rademacher(key_of(words), (self.num_probes, self.dim), dtype)

    def distribution(
        self,
        params: Any,
        condition: jax.Array | None,
        tolerance: float,
        probes: jax.Array | None,
        normalizer: Any = 1.0,
    ) -> ProbabilityFlow:
        """The distribution given a condition [C], as a solver of this tolerance has it."""
        params = jax.tree.map(full_precision, params)
        scale = jnp.exp(jnp.clip(params["log_scale"], -LARGEST_LOG_SCALE, LARGEST_LOG_SCALE))
        given = Conditional(params["network"], None if condition is None else full_precision(condition))
        return ProbabilityFlow(
            Solver(self.velocity, tolerance),
            given,
            params["loc"],
            scale,
            probes=probes,
            normalizer=normalizer,
            matching_loss=partial(self.velocity.loss, given),
        )

    def init_state(self, *, params: Any, key: Any = None, num_points: int = 256, **data: Any) -> Any:
        """The state of the prior, with the errors of its density at `num_points` samples."""
        check_positive_integer(num_points=num_points)
        key_draws, key_probes = jax.random.split(jax.random.key(0) if key is None else check_key(key))
        words, tight = jax.random.bits(key_probes, (2,), jnp.uint32), TIGHTER * self.tolerance
        conditions = self._conditions(jax.random.fold_in(key_draws, 0), num_points, data)

        def draw(key: jax.Array, condition: jax.Array | None) -> jax.Array:
            return self.distribution(params, condition, tight, None).sample(seed=key)

        def log_probs(tolerance: float, probes: jax.Array | None) -> jax.Array:
            def of_one(z: jax.Array, condition: jax.Array | None) -> jax.Array:
                return self.distribution(params, condition, tolerance, probes).log_prob(z)

            return jax.vmap(of_one)(z, conditions)

        def error_of(tolerance: float, probes: jax.Array | None) -> jax.Array:
            return jnp.sqrt(jnp.mean((log_probs(tolerance, probes) - reference) ** 2))

        z = jax.lax.stop_gradient(jax.vmap(draw)(jax.random.split(key_draws, num_points), conditions))
        reference, probes = log_probs(tight, None), self.probes(words, z.dtype)
        of_solver = error_of(self.tolerance, None)
        of_probes = jnp.zeros_like(of_solver) if probes is None else error_of(tight, probes)
        error = jnp.stack([of_solver, of_probes])
        return {"normalizer": jnp.ones((), error.dtype), "normalizer_error": error, "normalizer_key": words}

    def _conditions(self, key: jax.Array, count: int, data: Mapping[str, Any]) -> jax.Array | None:
        """Conditions [count, C] at which errors are measured: drawn from the data [N, ...] if they hold some."""
        num_classes, condition_dim, name = self.read
        if num_classes is None and condition_dim is None:
            return None
        if data.get(name) is not None:
            given = jnp.asarray(data[name])
            rows = given[jax.random.randint(key, (count,), 0, len(given))]
            return jax.vmap(lambda y: self.read.vector({name: y}))(rows)
        if num_classes is not None:
            return jnp.eye(num_classes)[jnp.arange(count) % num_classes]
        return jax.random.normal(key, (count, condition_dim or 0))

    def update_state(self, state: Any, **batch: Any) -> Any:
        """Other probes after each training step: v would learn to fool those of a fixed key."""
        del batch
        words = jax.random.key_data(jax.random.split(key_of(state["normalizer_key"]))[0])
        return {"normalizer_key": words}
