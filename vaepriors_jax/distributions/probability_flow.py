"""The density of a probability-flow ODE, also called a continuous normalizing flow."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.distributions.diffusion_sde import DiffusionSDE
from vaepriors_jax.distributions.numerics import LOG_2PI, as_event, on_support, over_leading_axes

# (params, t, u [dim]) -> du/dt [dim]; compared by value, so that two of the same network share a compiled solver.
Velocity = Callable[[Any, jax.Array, jax.Array], jax.Array]

MOST_STEPS = 1000


class Solver(NamedTuple):
    """How the ODE is solved.

    Attributes:
        velocity: du/dt.
        tolerance: relative and absolute tolerance of each step.
    """

    velocity: Velocity
    tolerance: float


@dataclass(frozen=True)
class _Position:
    """The ODE of u alone."""

    velocity: Velocity

    def __call__(self, t: jax.Array, state: jax.Array, args: Any) -> jax.Array:
        return self.velocity(args[0], t, state)


@dataclass(frozen=True)
class _PositionAndDivergence:
    """The ODE of u and of the integral of the velocity's divergence: exact, or by probes v as the mean of v^T J v."""

    velocity: Velocity

    def __call__(self, t: jax.Array, state: Any, args: Any) -> tuple[jax.Array, jax.Array]:
        params, probes = args
        change, push = jax.linearize(lambda u: self.velocity(params, t, u), state[0])
        if probes is None:
            return change, jnp.trace(jax.vmap(push)(jnp.eye(len(change), dtype=change.dtype)))
        return change, jnp.mean(jnp.sum(jax.vmap(push)(probes) * probes, axis=-1))


class ProbabilityFlow(distrax.Distribution):
    r"""$z = \mu + \sigma u_1$, where $du_t/dt = v(t, u_t)$ and $u_0 \sim \mathcal{N}(0, I)$; see `flow_matching`.

    Attributes:
        loc: $\mu$ [dim].
        scale: $\sigma$ [dim].
        normalizer: what log p(z) is divided by: 1, the integral of a density without errors.
    """

    def __init__(
        self,
        solver: Solver,
        params: Any,
        loc: jax.Array,
        scale: jax.Array,
        *,
        probes: jax.Array | None = None,
        normalizer: Any = 1.0,
        matching_loss: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    ):
        """Takes the solver, the parameters of the velocity, and probes [P, dim] for the divergence; None: exact.

        `matching_loss(key, u)` is the loss of the velocity at one u [dim].
        """
        self._solver, self._params, self._probes = solver, params, probes
        self._matching_loss = matching_loss
        self.loc, self.scale, self.normalizer = loc, scale, jnp.asarray(normalizer, loc.dtype)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(dim,)."""
        return tuple(self.loc.shape)

    def fitting_loss(self, key: jax.Array, value: jax.Array) -> jax.Array:
        """What `fit_prior` minimises in place of -log p(z), at z [dim]: the loss of the velocity, without any ODE."""
        if self._matching_loss is None:
            raise TypeError("Expected a loss of the velocity; this distribution has none.")
        u = (as_event(value, self.event_shape, self.loc.dtype) - self.loc) / self.scale
        return self._matching_loss(key, jax.lax.stop_gradient(u))

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Log-density in nats at z [..., dim]: [...].

        It is minus infinity at an infinite z, and NaN where z is NaN or the ODE is not solved in 1,000 steps.
        """

        def of_one(z: jax.Array) -> jax.Array:
            is_finite = jnp.isfinite(z).all()
            u = (jnp.where(is_finite, z, self.loc) - self.loc) / self.scale
            field = _PositionAndDivergence(self._solver.velocity)
            u, change = _solve(
                field, self._solver.tolerance, (self._params, self._probes), (u, jnp.zeros_like(u[0])), -1
            )
            log_density = jnp.sum(-0.5 * u**2 - 0.5 * LOG_2PI - jnp.log(self.scale)) + change
            return on_support(is_finite, log_density, jnp.sum(jnp.abs(z))) - jnp.log(self.normalizer)

        return over_leading_axes(of_one, as_event(value, self.event_shape, self.loc.dtype))

    def sde(self, **options: Any) -> DiffusionSDE:
        """The SDE of the same velocity, another distribution; TypeError for a path that preserves no variance."""
        velocity = self._solver.velocity
        if getattr(velocity, "path", None) != "cosine":
            raise TypeError(
                "Expected the velocity of a variance-preserving diffusion, such as that of "
                "`vp.flow_matching(dim, path='cosine')`; another path has no SDE here."
            )
        return DiffusionSDE(lambda t, u: velocity(self._params, t, u), self.loc, self.scale, **options)

    def sample_sde(self, *, seed: jax.Array, sample_shape: int | Sequence[int] = (), num_steps: int = 500) -> jax.Array:
        r"""Samples z [*sample_shape, dim] of the SDE: their distribution is not that of `log_prob` and `sample`.

        The SDE of a variance-preserving diffusion has the same velocity v as the ODE. With the angle $\varphi = \pi t
        / 2$ and $w = \frac2\pi v$ it is $du = (2 w - u \cot\varphi)\, d\varphi + \sqrt{2 \cot\varphi}\, dB$, from a
        sample u of N(0, I) at t = 0 to t = 0.99, where a sample of $\mathcal{N}(u \sin\varphi + w \cos\varphi,
        \cos^2\varphi\, I)$ ends it. If v is the exact velocity of some data, SDE and ODE have one distribution, up to
        that last step. A learned v is not exact: the samples then have another density than that of `log_prob`. Only a
        lower bound on its logarithm is known, that of `vp.diffusion`.

        Args:
            seed: a random key.
            sample_shape: the shape of the samples.
            num_steps: steps of equal angle. In each w is constant and the rest is solved exactly (an exponential
                Euler-Maruyama method), so that the error falls as one over the number of steps, and is 0 for v = 0.

        Returns:
            Samples z, which carry gradients. They take `num_steps` + 1 evaluations of the network, and no diffrax.

        Raises:
            TypeError: the path is not "cosine".
            ValueError: `num_steps` < 1.

        Example:
            >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
            >>> prior = vp.flow_matching(2, path="cosine")
            >>> key, words = jax.random.key(0), jnp.zeros(2, jnp.uint32)
            >>> state = {"normalizer": 1.0, "normalizer_error": jnp.zeros(2), "normalizer_key": words}
            >>> flow = prior.apply(prior.init(key), **state)
            >>> flow.sample_sde(seed=jax.random.key(1), sample_shape=5, num_steps=10).shape
            (5, 2)

        References:
            Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021), Score-based generative modeling through
            stochastic differential equations, eq. 6 (the reverse-time SDE). There the steps are equal in time, by
            Euler-Maruyama or the ancestral sampler.
        """
        check_positive_integer(num_steps=num_steps)
        return self.sde(num_steps=num_steps).sample(seed=seed, sample_shape=sample_shape)

    def _sample_n(self, key: jax.Array, n: int) -> jax.Array:
        """Solves the ODE from samples of N(0, I): samples of the density, up to the error of the solver."""

        def push(u: jax.Array) -> jax.Array:
            return _solve(_Position(self._solver.velocity), self._solver.tolerance, (self._params, None), u, 1)

        start = jax.random.normal(key, (n, *self.event_shape), self.loc.dtype)
        return self.loc + self.scale * jax.vmap(push)(start)


def _solve(field: Any, tolerance: float, args: Any, start: Any, direction: int) -> Any:
    """The state at t = 1, from t = 0 on, or for `direction` -1 at t = 0, from t = 1 on."""
    diffrax = import_diffrax()
    dtype = jax.tree.leaves(start)[0].dtype
    begin, end = (jnp.asarray(t, dtype) for t in ((0, 1) if direction > 0 else (1, 0)))
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        diffrax.Tsit5(),
        begin,
        end,
        None,
        start,
        args,
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        max_steps=MOST_STEPS,
        throw=False,
    )
    is_solved = solution.result == diffrax.RESULTS.successful
    return jax.tree.map(lambda leaf: jnp.where(is_solved, leaf[0], jnp.nan), solution.ys)


def import_diffrax() -> Any:
    """The package diffrax, which the extra `diffrax` installs; ImportError without it."""
    try:
        return importlib.import_module("diffrax")
    except ModuleNotFoundError as error:
        raise ImportError(
            "Expected the package diffrax, which solves the ODE of `flow_matching`; it is not installed. Install it: "
            "pip install 'vaepriors_jax[diffrax]'"
        ) from error
