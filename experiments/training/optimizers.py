"""The optimisers that the programs train with."""

from collections.abc import Callable
from functools import lru_cache

import optax

import vaepriors_jax as vp


@lru_cache  # one function for the same options: `fit` compiles once for each
def optimizer_factory(
    gradients: str, prior_factor: float, average_decay: float = 0.0
) -> Callable[..., optax.GradientTransformation]:
    """A function from a learning rate to Adam, which trains the prior at `prior_factor` times that rate.

    With an `average_decay` it also averages the parameters.
    """

    def make(learning_rate: float) -> optax.GradientTransformation:
        adam = optax.adam(learning_rate)
        if prior_factor != 1:
            of_group = {"networks": adam, "prior": optax.adam(prior_factor * learning_rate)}
            adam = optax.partition(of_group, vp.parameter_groups)
        optimizer = optax.chain(vp.normalize_per_tensor(), adam) if gradients == "normalized" else adam
        return vp.average_params(optimizer, average_decay) if average_decay else optimizer

    return make
