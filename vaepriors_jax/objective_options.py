"""The options of the training objective."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from vaepriors_jax.checks import check_choice, check_not_negative, check_positive_integer, check_precision, check_shape
from vaepriors_jax.distributions.kl_divergence import KL_METHODS
from vaepriors_jax.importance_bound import BOUNDS, GRADIENTS
from vaepriors_jax.reconstruction_constraint import ReconstructionConstraint


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
