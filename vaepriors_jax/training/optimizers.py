"""Optax transformations and labels that training a VAE with a learned prior needs."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from vaepriors_jax.checks import check_positive
from vaepriors_jax.vae import VAEParams, split_states


def normalize_per_tensor(epsilon: float = 1e-7) -> optax.GradientTransformation:
    r"""Divides the gradient of each tensor by its Euclidean norm, $g / (\|g\|_2 + \epsilon)$.

    Adam then sees directions alone, whatever the scale of the loss. Tomczak & Welling (2018) train with
    `optax.chain(normalize_per_tensor(), optax.adam(5e-4))`.

    Args:
        epsilon: keeps a gradient of zero at zero.

    Returns:
        An optax transformation without state, to be chained before an optimiser.

    Raises:
        ValueError: `epsilon` is not above 0.

    Example:
        >>> import jax.numpy as jnp, vaepriors_jax as vp
        >>> normalize = vp.normalize_per_tensor()
        >>> gradient = {"weight": jnp.array([3.0, 4.0]), "bias": jnp.zeros(1)}
        >>> print(normalize.update(gradient, normalize.init(gradient))[0])
        {'bias': Array([0.], dtype=float32), 'weight': Array([0.6, 0.8], dtype=float32)}

    References:
        Yu et al. (2017), Block-normalized gradient method: an empirical study for training deep neural network.
    """
    check_positive(epsilon=epsilon)

    def scaled(update: jax.Array) -> jax.Array:
        wide = update.astype(jnp.promote_types(update.dtype, jnp.float32))  # squares overflow in float16
        return (wide / (jnp.linalg.norm(wide.reshape(-1)) + epsilon)).astype(update.dtype)

    def normalize(updates: Any, params: Any) -> Any:
        del params
        return jax.tree.map(scaled, updates)

    return optax.stateless(normalize)


def optimizer_update(
    optimizer: optax.GradientTransformation,
    gradient: Any,
    opt_state: Any,
    params: Any,
    *,
    value: jax.Array,
    value_fn: Callable[[Any], jax.Array],
) -> tuple[Any, Any]:
    """Calls the optimiser's `update`. Some optimisers also read the loss, as a number and as a function."""
    extra = {"value": value, "grad": gradient, "value_fn": value_fn}
    try:
        return optax.with_extra_args_support(optimizer).update(gradient, opt_state, params, **extra)
    except TypeError as error:
        error.add_note("This came from the optimizer: its `update` gets `value`, `grad` and `value_fn`, no more.")
        raise


def parameter_groups(params: VAEParams) -> VAEParams:
    """Labels parameters for `optax.partition`: "networks" for encoder and decoder, "prior" for the prior.

    Example:
        >>> import optax, vaepriors_jax as vp
        >>> optimizer = optax.partition(
        ...     {"networks": optax.adam(1e-3), "prior": optax.adam(1e-2)}, vp.parameter_groups)
    """

    def label(name: str, tree: Any) -> Any:
        return jax.tree.map(lambda _: name, tree)

    params, _ = split_states(params)
    return VAEParams(label("networks", params.encoder), label("networks", params.decoder), label("prior", params.prior))
