"""One training step: the objective's gradient over a batch, and the optimiser's update."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vaepriors_jax.checks import check_not_negative
from vaepriors_jax.objectives import ELBO, elbo
from vaepriors_jax.parallel.sharding import check_mesh, over_devices
from vaepriors_jax.training.checks import check_optimizer, check_schedule
from vaepriors_jax.training.state import TrainState
from vaepriors_jax.training.transforms import Batch, Transform
from vaepriors_jax.vae import VAE, VAEParams, context_of

TERMS = ("reconstruction", "kl", "gradient")


def batch_elbo(
    vae: VAE, params: VAEParams, key: jax.Array, batch: Batch, *, beta: Any, mesh: Mesh | None = None, **options: Any
) -> ELBO:
    """The terms of the ELBO for each example of a batch, [B] each; `options` are those of `elbo`."""

    def of_device(keys: jax.Array, batch: Batch, params: VAEParams, beta: Any) -> ELBO:
        context = context_of(batch)
        one = lambda key, x, context: elbo(vae, params, key, x, beta=beta, **options, **context)  # noqa: E731
        return jax.vmap(one)(keys, batch["x"], context)

    keys = jax.random.split(key, batch["x"].shape[0])
    return over_devices(mesh, of_device)(keys, batch, params, beta)


def update(
    vae: VAE,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    key: jax.Array,
    batch: Batch,
    *,
    beta: Any = 1.0,
    transform: Transform | None = None,
    **options: Any,
) -> tuple[TrainState, ELBO]:
    """One step, not compiled: see `make_train_step`."""
    key_transform, key_elbo = jax.random.split(jax.random.fold_in(key, state.step))
    if transform is not None:
        batch = transform(key_transform, batch)
    weight = beta(state.step) if callable(beta) else beta

    def loss(params: VAEParams) -> tuple[jax.Array, ELBO]:
        terms = jax.tree.map(jnp.mean, batch_elbo(vae, params, key_elbo, batch, beta=weight, **options))
        return -terms.objective, terms

    gradient, terms = jax.grad(loss, has_aux=True)(state.params)
    norm = _squared_norm(gradient)
    broken = ~jnp.isfinite(jnp.stack([terms.reconstruction, terms.kl, norm]))
    alive = state.failed_step < 0
    fails = alive & broken.any()

    def move(params: VAEParams, opt_state: optax.OptState, gradient: VAEParams) -> tuple[VAEParams, optax.OptState]:
        # What some optimisers read beside the gradient: the loss, as a number and as a function.
        extra = {"value": -terms.objective, "grad": gradient, "value_fn": lambda params: loss(params)[0]}
        try:
            updates, opt_state = optax.with_extra_args_support(optimizer).update(gradient, opt_state, params, **extra)
        except TypeError as error:
            error.add_note("This came from the optimizer: its `update` gets `value`, `grad` and `value_fn`, no more.")
            raise
        return optax.apply_updates(params, updates), opt_state

    def stay(params: VAEParams, opt_state: optax.OptState, gradient: VAEParams) -> tuple[VAEParams, optax.OptState]:
        del gradient
        return params, opt_state

    params, opt_state = jax.lax.cond(alive & ~fails, move, stay, state.params, state.opt_state, gradient)
    return TrainState(
        step=state.step + 1,
        params=params,
        opt_state=opt_state,
        failed_step=jnp.where(fails, state.step, state.failed_step),
        failed_term=jnp.where(fails, jnp.argmax(broken).astype(jnp.int32), state.failed_term),
    ), terms


def _squared_norm(gradient: VAEParams) -> jax.Array:
    """The squared norm of all gradients, in at least float32: in float16 it overflows from a norm of 256 on."""
    wide = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in jax.tree.leaves(gradient)]
    # As inner products: several times as fast on a CPU as a sum of squares.
    return sum((jnp.vdot(leaf, leaf) for leaf in wide), jnp.zeros(()))


def make_train_step(
    vae: VAE,
    optimizer: optax.GradientTransformation,
    *,
    beta: float | Callable[[jax.Array], jax.Array] = 1.0,
    free_bits: float = 0.0,
    num_samples: int = 1,
    kl_method: str = "auto",
    transform: Transform | None = None,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, jax.Array, Batch], tuple[TrainState, ELBO]]:
    """Makes the compiled training step `state, metrics = step(state, key, batch)`.

    Args:
        vae: the VAE.
        optimizer: any optax transformation. Beside gradient and parameters its `update` gets `value`, the loss of the
            batch, `grad`, and `value_fn`, the loss as a function of the parameters.
        beta: weight of the KL, or a schedule of the step.
        free_bits: see `elbo`.
        num_samples: see `elbo`.
        kl_method: see `kl_divergence`.
        transform: `transform(key, batch)` gives the batch that is trained on, such as `binarize`.
        mesh: devices to share each batch out over, such as `vaepriors_jax.parallel.make_mesh()`; the result is that of
            one device. With several processes pass global arrays (`jax.make_array_from_process_local_data`).

    Returns:
        A function of a `TrainState`, whose memory it reuses, of a key (the step's number is folded in, so that it may
        stay the same) and of a batch {"x": [B, ...], "y": [B], ...}. It gives the next state, and the batch means of
        the `ELBO` in nats.

    Example:
        >>> import jax, jax.numpy as jnp, optax, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(params @ x, jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(params @ z),
        ...     prior=vp.standard_normal(2))
        >>> optimizer = optax.adam(1e-2)
        >>> state = vp.init_train_state(vp.VAEParams(jnp.ones((2, 3)), jnp.ones((3, 2)), {}), optimizer)
        >>> step = vp.make_train_step(vae, optimizer)
        >>> state, metrics = step(state, jax.random.key(0), {"x": jnp.ones((8, 3))})
        >>> int(state.step), metrics.elbo.shape
        (1, ())
    """
    check_optimizer(optimizer)
    check_not_negative(free_bits=free_bits)
    if callable(beta):
        check_schedule(beta)
    else:
        check_not_negative(beta=beta)
        beta = float(beta)
    return _train_step(
        vae,
        optimizer,
        beta=beta,
        transform=transform,
        free_bits=float(free_bits),
        num_samples=num_samples,
        kl_method=kl_method,
        mesh=check_mesh(mesh),
    )


@lru_cache(maxsize=32)  # a step that is made again is not compiled again
def _train_step(vae: VAE, optimizer: optax.GradientTransformation, **options: Any) -> Callable[..., Any]:
    return jax.jit(partial(update, vae, optimizer, **options), donate_argnums=0)
