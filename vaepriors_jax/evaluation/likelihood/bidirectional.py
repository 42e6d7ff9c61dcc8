"""Bidirectional Monte Carlo: lower and upper bounds on log p(x) of data simulated from the model."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.conditioning import check_labels_read
from vaepriors_jax.data_checks import check_data, check_model
from vaepriors_jax.evaluation.estimates import Estimate, estimate
from vaepriors_jax.evaluation.likelihood.annealed_chains import Settings, anneal_examples, check_settings, log_mean_exp
from vaepriors_jax.evaluation.per_example import refuse_weights
from vaepriors_jax.trees import named_arrays
from vaepriors_jax.vae import VAE, VAEParams


class BidirectionalBounds(NamedTuple):
    """Bounds on log p(x) of data simulated from the model, in nats.

    Attributes:
        x: the simulated examples [N, ...]; a dict of them where p(x|z) is a `joint` likelihood.
        lower: lower bound in expectation for each example [N].
        upper: upper bound in expectation for each example [N].
        acceptance_rate: mean acceptance rate of both directions [N].
        mean_lower: mean of `lower`, with its standard error from the choice of examples.
        mean_upper: mean of `upper`.
        mean_gap: mean of upper - lower. Its expectation bounds the mean error of either bound.
    """

    x: Any
    lower: jax.Array
    upper: jax.Array
    acceptance_rate: jax.Array
    mean_lower: Estimate[jax.Array]
    mean_upper: Estimate[jax.Array]
    mean_gap: Estimate[jax.Array]


@partial(jax.jit, static_argnums=(0, 3))
def _simulate(
    vae: VAE, params: VAEParams, key: jax.Array, num_examples: int, context: dict[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """Draws z [N, dim] from the prior, and x [N, ...] given z."""

    def simulate_example(key: jax.Array, context: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        key_z, key_x = jax.random.split(key)
        z = vae.latent_prior(params, **context).sample(seed=key_z)
        return z, vae.likelihood(params, z, **context).sample(seed=key_x)

    return jax.vmap(simulate_example)(jax.random.split(key, num_examples), context)


def _check_context(vae: VAE, context: dict[str, Any], num_examples: int) -> dict[str, jax.Array]:
    """Returns the context as arrays; checked before anything is simulated, as a wrong label would give an x of NaN."""
    refuse_weights(context, "bidirectional_monte_carlo")
    for name, value in named_arrays(context):
        if np.shape(value)[:1] != (num_examples,):
            raise ValueError(
                f"Expected one `{name}` for each of num_examples={num_examples} simulated examples; got shape "
                f"{np.shape(value)}."
            )
    check_labels_read(vae.prior.config, context)
    return jax.tree.map(jnp.asarray, context)


def bidirectional_monte_carlo(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    *,
    num_examples: int = 100,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    num_leapfrog_steps: int = 10,
    initial: str = "posterior",
    target_acceptance: float = 0.65,
    chunk_size: int = 1000,
    **context: Any,
) -> BidirectionalBounds:
    r"""Lower and upper bounds on log p(x) of simulated data, which show how far annealing can be wrong.

    With $z \sim p(z)$ and $x \sim p(x|z)$, z is an exact sample of the posterior p(z|x). Chains that start there and
    follow the path of `annealed_importance_sampling` backwards have weights whose mean is 1 / p(x), so that minus the
    log of their average is an upper bound on log p(x) in expectation. Chains forward give the lower bound. If the gap
    between the two is small, the same settings can be trusted on real data, to the extent that real data resemble the
    simulated ones.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        num_examples: N, the number of examples to simulate.
        num_chains: chains for each example and direction; all backward chains of an example start at its exact sample.
        num_temperatures: see `annealed_importance_sampling`.
        num_leapfrog_steps: see `annealed_importance_sampling`.
        initial: see `annealed_importance_sampling`.
        target_acceptance: see `annealed_importance_sampling`; both directions use the same step sizes.
        chunk_size: see `annealed_importance_sampling`.
        **context: per-example context [num_examples, ...], such as `y=`.

    Returns:
        A `BidirectionalBounds`, in nats.

    Raises:
        ValueError: an option is out of range, the length of the context is not `num_examples`, or the prior is not
            over R^n.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> from vaepriors_jax.evaluation.likelihood import bidirectional_monte_carlo
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(jnp.zeros(3)),
        ...     prior=vp.standard_normal(2))
        >>> bounds = bidirectional_monte_carlo(
        ...     vae, vp.VAEParams({}, {}, {}), jax.random.key(0), num_examples=4, num_temperatures=10)
        >>> print(f"{bounds.mean_lower.mean:.4f} {bounds.mean_upper.mean:.4f}")
        -2.0794 -2.0794

    References:
        Grosse, Ghahramani & Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo, section
        3; Wu, Burda, Salakhutdinov & Grosse (2017), On the quantitative analysis of decoder-based generative models,
        section 4.
    """
    check_model(vae, params, key)
    check_positive_integer(num_examples=num_examples)
    settings = Settings(num_chains, num_temperatures, num_leapfrog_steps, initial, target_acceptance, chunk_size)
    check_settings(settings)
    arrays = _check_context(vae, context, num_examples)
    key_data, key_chains = jax.random.split(key)
    z, x = _simulate(vae, params, key_data, num_examples, arrays)
    data = check_data(vae, params, {"x": x, **arrays}, key)
    weights = anneal_examples(vae, params, key_chains, data, z, settings)
    assert weights.backward is not None
    lower, upper = log_mean_exp(weights.forward), -log_mean_exp(weights.backward)
    averages = map(estimate, (lower, upper, upper - lower))
    return BidirectionalBounds(x, lower, upper, weights.acceptance_rate, *averages)
