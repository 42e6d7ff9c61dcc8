"""Bidirectional Monte Carlo: bounds on log p(x) from both sides, on simulated data."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_labels, check_positive_integer
from vaepriors_jax.data_checks import check_data, label_counts
from vaepriors_jax.evaluation.estimates import estimate
from vaepriors_jax.evaluation.likelihood.annealed_chains import Settings, anneal_examples, check_settings, log_mean_exp
from vaepriors_jax.vae import VAE, VAEParams, split_context


class BidirectionalBounds(NamedTuple):
    """Bounds on log p(x) of data simulated from the model, in nats.

    Attributes:
        x: the simulated examples [N, ...].
        lower: lower bound in expectation for each example [N].
        upper: upper bound in expectation for each example [N].
        acceptance_rate: mean acceptance of both directions [N].
        lower_mean: mean lower bound over examples.
        lower_standard_error: its standard error from the choice of examples.
        upper_mean: mean upper bound over examples.
        upper_standard_error: its standard error from the choice of examples.
        gap_mean: mean of upper - lower: in expectation, more than the mean error of either.
        gap_standard_error: its standard error.
    """

    x: jax.Array
    lower: jax.Array
    upper: jax.Array
    acceptance_rate: jax.Array
    lower_mean: jax.Array
    lower_standard_error: jax.Array
    upper_mean: jax.Array
    upper_standard_error: jax.Array
    gap_mean: jax.Array
    gap_standard_error: jax.Array


@partial(jax.jit, static_argnums=(0, 3))
def _simulate(
    vae: VAE, params: VAEParams, key: jax.Array, num_examples: int, per_example: Any, shared: Any
) -> tuple[jax.Array, jax.Array]:
    """Draws z [N, dim] from the prior, and x [N, ...] given it."""

    def one(key: jax.Array, context: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
        key_z, key_x = jax.random.split(key)
        context = context | shared
        z = vae.latent_prior(params, **context).sample(seed=key_z)
        return z, vae.likelihood(params, z, **context).sample(seed=key_x)

    return jax.vmap(one)(jax.random.split(key, num_examples), per_example)


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
    r"""Bounds on log p(x) from both sides, for data simulated from the model: how far annealing can be wrong.

    With $z \sim p(z)$ and $x \sim p(x|z)$, z is an exact sample of the posterior p(z|x). Chains that start there and
    take the path of `annealed_importance_sampling` backwards have weights whose mean is 1 / p(x), so that minus the log
    of their average is an upper bound on log p(x) in expectation; chains forward give the lower bound. If the gap is
    small here, the same settings can be trusted on real data as far as these are like the model's own.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        num_examples: N, the number of examples to simulate.
        num_chains: chains for each example and direction; those backward share their start.
        num_temperatures: see `annealed_importance_sampling`.
        num_leapfrog_steps: see there.
        initial: see there.
        target_acceptance: see there; both directions take the same step sizes.
        chunk_size: see there.
        **context: per-example context [num_examples, ...], such as `y=`, or shared context.

    Returns:
        A `BidirectionalBounds`, in nats.

    Raises:
        ValueError: an option out of range, or context of another length than `num_examples`.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(jnp.zeros(3)),
        ...     prior=vp.standard_normal(2))
        >>> bounds = bidirectional_monte_carlo(
        ...     vae, vp.VAEParams({}, {}, {}), jax.random.key(0), num_examples=4, num_temperatures=10)
        >>> print(f"{bounds.lower_mean:.4f} {bounds.upper_mean:.4f}")
        -2.0794 -2.0794

    References:
        Grosse, Ghahramani & Adams (2015), Sandwiching the marginal likelihood using bidirectional Monte Carlo, section
        3; Wu, Burda, Salakhutdinov & Grosse (2017), On the quantitative analysis of decoder-based generative models,
        section 4.
    """
    check_positive_integer(num_examples=num_examples)
    settings = Settings(num_chains, num_temperatures, num_leapfrog_steps, initial, target_acceptance, chunk_size)
    check_settings(settings)
    per_example, shared = split_context(context)
    for name, value in per_example.items():
        if np.shape(value)[:1] != (num_examples,):
            raise ValueError(
                f"Expected one `{name}` for each of num_examples={num_examples} simulated examples; got shape "
                f"{np.shape(value)}."
            )
    # Before anything is simulated: a label outside the classes would make NaN of x.
    for num_classes in label_counts(vae.prior.config):
        if "y" in per_example:
            check_labels(per_example["y"], num_classes)
    key_data, key_chains = jax.random.split(key)
    per_example = jax.tree.map(jnp.asarray, per_example)
    z, x = _simulate(vae, params, key_data, num_examples, per_example, shared)
    data = check_data(vae, params, {"x": x, **per_example}, key)
    weights = anneal_examples(vae, params, key_chains, data, z, shared, settings)
    assert weights.backward is not None
    lower, upper = log_mean_exp(weights.forward), -log_mean_exp(weights.backward)
    errors = map(estimate, (lower, upper, upper - lower))
    flat = (number for pair in errors for number in pair)
    return BidirectionalBounds(x, lower, upper, weights.acceptance_rate, *flat)
