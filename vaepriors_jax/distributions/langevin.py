"""Langevin dynamics with Metropolis' correction."""

from collections.abc import Callable

import jax

from vaepriors_jax.loops import scan


def langevin(
    key: jax.Array,
    log_density: Callable[[jax.Array], jax.Array],
    z: jax.Array,
    *,
    num_steps: int,
    step_size: float,
) -> jax.Array:
    r"""Moves points by the Metropolis-adjusted Langevin algorithm (MALA), which leaves their density as it is.

    A proposal is $z + \epsilon \nabla \log p(z) + \sqrt{2 \epsilon}\, u$ with $u \sim N(0, I)$.

    Args:
        key: a random key.
        log_density: log p(z), up to a constant, of one z [dim].
        z: points [n, dim] to start from.
        num_steps: the number of steps.
        step_size: $\epsilon$.

    Returns:
        Points [n, dim].
    """
    from blackjax.mcmc import mala  # not at the top: the import takes a third of a second

    kernel = mala.build_kernel()

    def step(states: mala.MALAState, key: jax.Array) -> tuple[mala.MALAState, None]:
        def of_one(key: jax.Array, state: mala.MALAState) -> mala.MALAState:
            return kernel(key, state, log_density, step_size)[0]

        return jax.vmap(of_one)(jax.random.split(key, len(z)), states), None

    states = jax.vmap(lambda one: mala.init(one, log_density))(z)
    states, _ = scan(step, states, jax.random.split(key, num_steps), num_steps)
    return states.position
