"""Training under a constraint on the reconstruction error, with a Lagrange multiplier that training moves (GECO)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_positive

# The multiplier stays finite where no model meets the constraint, and above 0 where every model does.
SMALLEST, LARGEST = 1e-6, 1e6


@dataclass(frozen=True)
class ReconstructionConstraint:
    r"""A limit on the mean reconstruction error, under which training minimises the KL (GECO).

    With the error $d(x, z)$ the constraint is $E[C] \le 0$ for $C = d - \kappa$, and training minimises the Lagrangian
    $KL + \lambda C$. After each step the multiplier is $\lambda \leftarrow \lambda\, e^{\eta \bar C}$, where
    $\bar C \leftarrow \alpha \bar C + (1 - \alpha)\, C$ is a moving average of the batch means. Both are in the
    `multiplier` of the train state. You choose how good reconstructions have to be, and training finds the weight of
    the KL against the error, $1 / \lambda$, in place of a `beta`. As with any objective, `fit` validates by the ELBO.

    Attributes:
        max_error: $\kappa$, the largest mean error that is allowed.
        error: `error(likelihood, x)` is the error d of one example, a scalar, given p(x|z); it must be differentiable.
            None for $-\log p(x|z)$ in nats. With another error nothing trains parameters that this error does not
            read, such as the decoder's scale.
        decay: $\alpha$, between 0 and 1. The average reaches back over about 1 / (1 - decay) steps.
        rate: $\eta$ > 0. The default suits errors that exceed the limit by hundreds at the start, as nats of images do;
            smaller errors need a larger rate. Where it is too large, the multiplier overshoots before training has
            lowered the error, and the KL then counts for nothing for long.
        initial_multiplier: $\lambda$ at the first step.

    Raises:
        ValueError: an option out of range.
        TypeError: `error` is not a function.

    Example:
        >>> import vaepriors_jax as vp
        >>> def squared(likelihood, x):
        ...     return ((likelihood.mean() - x) ** 2).sum()
        >>> constraint = vp.ReconstructionConstraint(max_error=25.0, error=squared)
        >>> objective = vp.Objective(constraint=constraint)

    References:
        Rezende & Viola (2018), Taming VAEs, algorithm 1. There the multiplier has no bounds; here it stays within 1e-6
        and 1e6.
    """

    max_error: float
    error: Callable[[Any, Any], Any] | None = None
    decay: float = 0.99
    rate: float = 1e-5
    initial_multiplier: float = 1.0

    def __post_init__(self) -> None:
        """Checks the options."""
        is_number = isinstance(self.max_error, (int, float, np.number)) and not isinstance(self.max_error, bool)
        if not is_number or not np.isfinite(self.max_error):
            raise ValueError(f"Expected `max_error` to be a finite number; got {self.max_error!r}.")
        if self.error is not None and not callable(self.error):
            raise TypeError(f"Expected `error` as a function of p(x|z) and x, or None; got {self.error!r}.")
        if not 0 < self.decay < 1:
            raise ValueError(f"Expected `decay` to be a number between 0 and 1, such as 0.99; got {self.decay!r}.")
        check_positive(rate=self.rate, initial_multiplier=self.initial_multiplier)
        if not SMALLEST <= self.initial_multiplier <= LARGEST:
            raise ValueError(
                f"Expected `initial_multiplier` from {SMALLEST:g} to {LARGEST:g}; got {self.initial_multiplier!r}."
            )


class Multiplier(NamedTuple):
    """The state of a constraint.

    Attributes:
        value: the Lagrange multiplier of the next step.
        average: the moving average of the constraint: the mean error minus the largest that is allowed.
    """

    value: jax.Array
    average: jax.Array


def first_multiplier(constraint: ReconstructionConstraint) -> Multiplier:
    """The state before the first step."""
    return Multiplier(jnp.full((), constraint.initial_multiplier, jnp.float32), jnp.zeros((), jnp.float32))


def next_multiplier(
    constraint: ReconstructionConstraint, multiplier: Multiplier, excess: jax.Array, step: jax.Array
) -> Multiplier:
    """The state after a step on a batch in which the error exceeded its limit by a mean `excess`."""
    excess = excess.astype(jnp.float32)
    moved = constraint.decay * multiplier.average + (1 - constraint.decay) * excess
    average = jnp.where(step == 0, excess, moved)
    log_value = jnp.log(multiplier.value) + constraint.rate * average
    return Multiplier(jnp.exp(jnp.clip(log_value, np.log(SMALLEST), np.log(LARGEST))), average)


def error_of_example(
    constraint: ReconstructionConstraint, likelihood: distrax.Distribution, x: Any, nats: jax.Array
) -> jax.Array:
    """The error of one example, given p(x|z) and its log-density at x in nats."""
    if constraint.error is None:
        return -nats
    error = jnp.asarray(constraint.error(likelihood, x))
    if error.shape or not jnp.issubdtype(error.dtype, jnp.floating):
        raise ValueError(
            f"Expected `error` of the constraint to give one float for an example; got an array of {error.dtype}, of "
            f"shape {list(error.shape)}. Sum over the entries of x."
        )
    return error
