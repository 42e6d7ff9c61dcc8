"""One training step: the objective's gradient over a batch, and the optimiser's update."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from vaepriors_jax.checks import check_batch, check_key, check_transformed
from vaepriors_jax.data_checks import check_vae
from vaepriors_jax.moved import moved_keywords
from vaepriors_jax.objective_options import DEFAULT, MOVED_OPTIONS, Objective, check_objective, with_python_numbers
from vaepriors_jax.objectives import ELBO, weighted_mean
from vaepriors_jax.parallel.sharding import check_mesh
from vaepriors_jax.reconstruction_constraint import Multiplier, next_multiplier
from vaepriors_jax.training.batch import batch_elbo
from vaepriors_jax.training.checks import check_optimizer, check_schedule
from vaepriors_jax.training.optimizers import optimizer_update
from vaepriors_jax.training.state import TrainState, check_state
from vaepriors_jax.training.transforms import Batch, Transform
from vaepriors_jax.vae import VAE, States, VAEParams, check_prior_state, join_states, split_states

TERMS = ("reconstruction", "kl", "gradient")
Moved = tuple[VAEParams, optax.OptState, States]


def update(
    vae: VAE,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    key: jax.Array,
    batch: Batch,
    *,
    objective: Objective = DEFAULT,
    transform: Transform | None = None,
    mesh: Mesh | None = None,
) -> tuple[TrainState, ELBO]:
    """One step, not compiled: see `make_train_step`."""
    key_transform, key_elbo = jax.random.split(jax.random.fold_in(key, state.step))
    if transform is not None:
        batch = transform(key_transform, batch)
        check_transformed(batch)
    if callable(objective.beta):
        objective = replace(objective, beta=objective.beta(state.step))

    trained, states = split_states(state.params)

    def loss(trained: VAEParams) -> tuple[jax.Array, tuple[ELBO, States]]:
        params = join_states(trained, states)
        multiplier = state.multiplier.value if state.multiplier else None
        terms, new_states = batch_elbo(vae, params, key_elbo, batch, objective, mesh, multiplier)
        terms = jax.tree.map(partial(weighted_mean, weight=batch.get("weight")), terms)
        return -terms.objective, (terms, new_states)

    gradient, (terms, new_states) = jax.grad(loss, has_aux=True)(trained)
    norm = _squared_norm(gradient)
    broken = ~jnp.isfinite(jnp.stack([terms.reconstruction, terms.kl, norm]))
    alive = state.failed_step < 0
    fails = alive & broken.any()

    def move(trained: VAEParams, opt_state: optax.OptState, gradient: VAEParams) -> Moved:
        updates, opt_state = optimizer_update(
            optimizer,
            gradient,
            opt_state,
            trained,
            value=-terms.objective,
            value_fn=lambda trained: loss(trained)[0],
        )
        return optax.apply_updates(trained, updates), opt_state, new_states._replace(prior=())

    def stay(trained: VAEParams, opt_state: optax.OptState, gradient: VAEParams) -> Moved:
        del gradient
        return trained, opt_state, states._replace(prior=())

    moves = alive & ~fails
    prior_state = vae.next_prior_state(state.params, batch, moves)
    trained, opt_state, states = jax.lax.cond(moves, move, stay, trained, state.opt_state, gradient)
    return TrainState(
        step=state.step + 1,
        params=join_states(trained, states._replace(prior=prior_state)),
        opt_state=opt_state,
        failed_step=jnp.where(fails, state.step, state.failed_step),
        failed_term=jnp.where(fails, jnp.argmax(broken).astype(jnp.int32), state.failed_term),
        multiplier=_move_multiplier(objective, state, terms, moves),
    ), terms


def _move_multiplier(objective: Objective, state: TrainState, terms: ELBO, moves: jax.Array) -> Multiplier | tuple[()]:
    """The multiplier after a step that `moves`, if the objective has a constraint."""
    if objective.constraint is None or not state.multiplier or terms.excess is None:
        return state.multiplier
    moved = next_multiplier(objective.constraint, state.multiplier, terms.excess, state.step)
    return jax.tree.map(lambda new, old: jnp.where(moves, new, old), moved, state.multiplier)


def _squared_norm(gradient: VAEParams) -> jax.Array:
    """The squared norm of all gradients, in at least float32: in float16 it overflows from a norm of 256 on."""
    wide = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in jax.tree.leaves(gradient)]
    # As inner products: several times as fast on a CPU as a sum of squares.
    return sum((jnp.vdot(leaf, leaf) for leaf in wide), jnp.zeros(()))


@moved_keywords(**MOVED_OPTIONS)
def make_train_step(
    vae: VAE,
    optimizer: optax.GradientTransformation,
    *,
    objective: Objective = DEFAULT,
    transform: Transform | None = None,
    mesh: Mesh | None = None,
) -> Callable[[TrainState, jax.Array, Batch], tuple[TrainState, ELBO]]:
    """Makes the compiled training step `state, metrics = step(state, key, batch)`.

    Args:
        vae: the VAE.
        optimizer: any optax transformation. Its `update` gets the gradient and the parameters, and as extra arguments
            `value`, the loss of the batch, `grad`, and `value_fn`, the loss as a function of the parameters.
        objective: options, such as `vp.Objective(beta=0.5)`. `beta` is a number or a schedule of the step; a warm-up is
            such a schedule. With a `constraint` the state comes from `init_train_state(..., objective=objective)`.
        transform: `transform(key, batch)` gives the batch that is trained on, such as `binarize`.
        mesh: devices that share each batch, such as `vaepriors_jax.parallel.make_mesh()`. The result is that of one
            device, statistics of BatchNorm included. With several processes pass global arrays
            (`jax.make_array_from_process_local_data`).

    Returns:
        A function of a `TrainState`, a key and a batch {"x": [B, ...], "y": [B], ...}, in which an entry "weight" [B]
        weighs the examples, though not the statistics of BatchNorm. It returns the next state, and the `ELBO` in nats
        as means over the batch. It reuses the memory of the state that it is given. The key may be the same at each
        step: the number of the step is folded in. It does not warn of entries that nothing reads, as `fit` does.

    Raises:
        TypeError: `optimizer` is no optax transformation, or a schedule that does not give a number.
        ValueError: an option out of range.

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
    check_vae(vae, "vae, optimizer")
    check_optimizer(optimizer)
    check_objective(objective)
    if objective.warmup_epochs:
        raise ValueError(
            f"Expected no `warmup_epochs` in `make_train_step`, which knows steps but no epochs; got "
            f"{objective.warmup_epochs}. Pass a schedule, such as `beta=optax.linear_schedule(0.0, 1.0, num_steps)`."
        )
    return _train_step(vae, optimizer, objective=_static(objective), transform=transform, mesh=check_mesh(mesh))


def _static(objective: Objective) -> Objective:
    """The objective with numbers of Python, so that equal objectives share one compiled step."""
    beta, objective = objective.beta, with_python_numbers(objective)
    if callable(beta):
        check_schedule(beta)
        return objective
    if jnp.ndim(beta):
        raise ValueError(f"Expected one `beta` in `make_train_step`; got {jnp.size(beta)}. Only `fit` trains replicas.")
    return replace(objective, beta=float(beta))


class _Step(NamedTuple):
    """A compiled step, which says what is wrong with a state or a batch before it runs."""

    compiled: Any
    vae: VAE
    objective: Objective
    transform: Transform | None

    def __call__(self, state: TrainState, key: jax.Array, batch: Batch) -> tuple[TrainState, ELBO]:
        check_state(state, self.objective)
        check_prior_state(self.vae, state.params)
        check_key(key)
        if self.transform is None:  # a transform may take batches of any kind
            check_batch(batch)
        return self.compiled(state, key, batch)

    def __getattr__(self, name: str) -> Any:  # such as `lower`
        return getattr(self.compiled, name)


@lru_cache(maxsize=32)  # making the same step again does not compile it again
def _train_step(vae: VAE, optimizer: optax.GradientTransformation, **options: Any) -> Callable[..., Any]:
    compiled = jax.jit(partial(update, vae, optimizer, **options), donate_argnums=0)
    return _Step(compiled, vae, options["objective"], options["transform"])
