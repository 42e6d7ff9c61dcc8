"""Fits a prior to the encodings of a VAE that is trained already."""

from contextlib import closing
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data, check_model
from vaepriors_jax.evaluation.latents.aggregated_posterior import posterior_of
from vaepriors_jax.evaluation.per_example import concatenate, map_stream, open_examples, pick_examples
from vaepriors_jax.factories import check_is
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.networks.variables import join, split
from vaepriors_jax.objectives import weighted_mean
from vaepriors_jax.parallel.sharding import example_keys
from vaepriors_jax.priors.init_from_data import init_from_data, required_data
from vaepriors_jax.training.placed_stream import PlacedStream
from vaepriors_jax.training.stream_epoch import STEPS_UNDER_WAY
from vaepriors_jax.training.streams import is_stream
from vaepriors_jax.trees import num_rows, take_rows
from vaepriors_jax.vae import VAE, VAEParams, context_of, init_prior_state

MOST_EXAMPLES = 10_000  # of a stream from which a prior starts
Carry = tuple[Any, Any]  # the prior's parameters, or `Variables`, and the state of the optimiser


class _Fitting(NamedTuple):
    """What is fitted, and by what; static for `jit`."""

    vae: VAE
    prior: Prior
    num_steps: int

    def init(self, start: Any, learning_rate: jax.Array) -> Carry:
        """The parameters and the state of the optimiser before the first step."""
        return start, self._optimizer(learning_rate).init(split(start)[0])

    def step(
        self, params: VAEParams, learning_rate: jax.Array, carry: Carry, key: jax.Array, batch: dict[str, jax.Array]
    ) -> tuple[Carry, jax.Array]:
        """A step on a batch, with a z for each example; returns the loss beside what comes next."""
        variables, state = carry
        prior_params, prior_state = split(variables)
        keys = jax.random.split(key, num_rows(batch))

        def mean_loss(prior_params: Any) -> jax.Array:
            return self._mean_loss(join(prior_params, prior_state), params, keys, batch)

        loss, gradient = jax.value_and_grad(mean_loss)(prior_params)
        updates, state = self._optimizer(learning_rate).update(gradient, state, prior_params)
        fitted = self.vae._replace(prior=self.prior)
        prior_state = fitted.next_prior_state(params._replace(prior=variables), batch, jnp.array(True))
        return (join(optax.apply_updates(prior_params, updates), prior_state), state), loss

    def _optimizer(self, learning_rate: jax.Array) -> optax.GradientTransformation:
        return optax.adam(optax.cosine_decay_schedule(learning_rate, self.num_steps))

    def _mean_loss(
        self, prior_params: Any, params: VAEParams, keys: jax.Array, batch: dict[str, jax.Array]
    ) -> jax.Array:
        fitted = self.vae._replace(prior=self.prior)

        def loss_of(key: jax.Array, example: dict[str, jax.Array]) -> jax.Array:
            z = jax.lax.stop_gradient(posterior_of(self.vae, params, example).sample(seed=key))
            prior = fitted.latent_prior(params._replace(prior=prior_params), **context_of(example))
            of_its_own = getattr(prior, "fitting_loss", None)
            return -prior.log_prob(z) if of_its_own is None else of_its_own(jax.random.fold_in(key, 1), z)

        loss = weighted_mean(jax.vmap(loss_of)(keys, batch), batch.get("weight"))
        return loss if self.prior.log_hyperprior is None else loss - self.prior.log_hyperprior(prior_params)


@partial(jax.jit, static_argnums=(0, 6))
def _fit(
    fitting: _Fitting,
    params: VAEParams,
    start: Any,
    key: jax.Array,
    data: dict[str, jax.Array],
    learning_rate: jax.Array,
    batch_size: int,
) -> tuple[Any, jax.Array]:
    def step(carry: Carry, key: jax.Array) -> tuple[Carry, jax.Array]:
        key_rows, key_z = jax.random.split(key)
        rows = jax.random.randint(key_rows, (batch_size,), 0, num_rows(data))
        batch = jax.tree.map(lambda array: array[rows], data)
        return fitting.step(params, learning_rate, carry, key_z, batch)

    keys = jax.random.split(key, fitting.num_steps)
    (fitted_params, _), losses = jax.lax.scan(step, fitting.init(start, learning_rate), keys)
    return fitted_params, losses


_step = jax.jit(_Fitting.step, static_argnums=0)


def _fit_to_stream(
    fitting: _Fitting, params: VAEParams, start: Any, key: jax.Array, stream: PlacedStream, learning_rate: jax.Array
) -> tuple[Any, jax.Array]:
    """A step for each batch, epoch after epoch."""
    carry, losses = fitting.init(start, learning_rate), []
    keys = iter([jax.random.split(one)[1] for one in jax.random.split(key, fitting.num_steps)])
    for epoch in count(1):
        with closing(stream.of_epoch(epoch)) as batches:
            # `keys` come last: `zip` would take one that is not used where the batches end.
            for (_, batch), key_z in zip(batches, keys, strict=False):
                carry, loss = _step(fitting, params, learning_rate, carry, key_z, batch)
                losses.append(loss)
                jax.block_until_ready(losses[-STEPS_UNDER_WAY:][0])
        if len(losses) == fitting.num_steps:
            return carry[0], jnp.stack(losses)
    raise AssertionError("epochs do not end")


def fit_prior(
    prior: Prior,
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    num_steps: int = 2000,
    batch_size: int | None = None,
    learning_rate: float = 3e-3,
    **context: Any,
) -> VAEParams:
    r"""Fits a prior to the aggregated posterior of a trained VAE: $\max_p E_{q(z)}[\log p(z)]$.

    Encoder and decoder keep their parameters. The prior starts from data if it can (see `init_from_data`): a mixture
    from k-means on encodings, a VampPrior from examples. Such a prior can close holes and lower the KL. The
    reconstruction does not change, so log p(x) gains less than from a prior that is trained with the VAE. A prior with
    a `log_hyperprior` adds it to what is maximised.

    A prior with a state, such as `resampled`, gets one before the first step and one after the last. A prior whose
    distribution has a `fitting_loss(key, z)`, such as `flow_matching`, is fitted by that in place of -log p(z).

    Args:
        prior: any prior of the latent dimension.
        vae: the trained VAE; its own prior is not read.
        params: the parameters of the VAE.
        key: a random key.
        x: the data set [N, ...], or batches of it (see `vp.Stream`), of which each step takes the next. A prior that
            starts from data reads them once or twice before, and starts from at most 10,000 examples x.
        num_steps: number of steps of Adam. Each draws a batch of examples and a z for each example.
        batch_size: number of examples in a batch, 256 by default; batches come with a size of their own.
        learning_rate: of Adam, decayed to 0 by a cosine.
        **context: per-example context [N, ...] that encoder and prior read; `weight=` weighs the examples.

    Returns:
        The parameters with those of `prior` in their place: use them with `vae._replace(prior=prior)`.

    Raises:
        TypeError: the arguments are in another order.
        ValueError: the data or a log-density are not finite.

    References:
        Ghosh et al. (2020), From variational to deterministic autoencoders, section 4 (ex-post density estimation).
    """
    if isinstance(vae, VAE):
        check_is(Prior, prior, ", as `prior`")
    if not isinstance(prior, Prior) or not isinstance(vae, VAE):
        raise TypeError(
            f"Expected a `vp.Prior` and a `vp.VAE` as the first arguments; got {type(prior).__name__} and "
            f"{type(vae).__name__}. The order is prior, vae, params, key, x."
        )
    params, key = check_model(vae, params, key)
    check_positive_integer(num_steps=num_steps, **({} if batch_size is None else {"batch_size": batch_size}))
    checked = vae._replace(prior=prior), _with_state(prior, vae, params, prior.init(key)), key
    key_start, key_steps = jax.random.split(key)
    fitting, rate = _Fitting(vae, prior, num_steps), jnp.asarray(learning_rate)
    if is_stream(x):
        if batch_size is not None:
            raise ValueError("Expected no `batch_size` with batches, which have a size of their own.")
        stream = open_examples(*checked, x, context)
        start = _with_state(prior, vae, params, _start_from_stream(prior, vae, params, key_start, stream)).prior
        fitted, losses = _fit_to_stream(fitting, params, start, key_steps, stream, rate)
    else:
        data = check_data(*checked[:2], {"x": x, **context}, key)
        start = _with_state(prior, vae, params, _start(prior, vae, params, key_start, data)).prior
        fitted, losses = _fit(fitting, params, start, key_steps, data, rate, batch_size or 256)
    if not bool(jnp.isfinite(losses).all()):
        step = int(jnp.argmax(~jnp.isfinite(losses)))
        raise ValueError(
            f"Expected finite log-densities while fitting {prior!r}; step {step} gave none. Lower `learning_rate`."
        )
    return _with_state(prior, vae, params, split(fitted)[0])


def _with_state(prior: Prior, vae: VAE, params: VAEParams, prior_params: Any) -> VAEParams:
    """The parameters with those of the prior, and the state that belongs to them, if the prior has one."""
    params = params._replace(prior=prior_params)
    return init_prior_state(vae._replace(prior=prior), params) if prior.init_state else params


@partial(jax.jit, static_argnums=0)
def _sample_latents(
    vae: VAE, params: VAEParams, key: jax.Array, data: dict[str, jax.Array], places: Any = None
) -> jax.Array:
    def draw(inputs: tuple[jax.Array, dict[str, jax.Array]]) -> jax.Array:
        key, example = inputs
        return posterior_of(vae, params, example).sample(seed=key)

    return map_chunks(draw, (example_keys(key, num_rows(data), places), data), 1000)


def _start(prior: Prior, vae: VAE, params: VAEParams, key: jax.Array, data: dict[str, jax.Array]) -> Any:
    """Starts a prior from data if it can, and else by `init`; samples z only for a start that needs it."""
    key_z, key_init = jax.random.split(key)
    if prior.init_from_data is None:
        return prior.init(key_init)
    z = _sample_latents(vae, params, key_z, data) if "z" in required_data(prior) else None
    return init_from_data(prior, key_init, z=z, **data)


def _start_from_stream(prior: Prior, vae: VAE, params: VAEParams, key: jax.Array, stream: PlacedStream) -> Any:
    """As `_start`. Of a stream all z and all context are kept, or where the start reads x, some examples of all."""
    key_z, key_init = jax.random.split(key)
    if prior.init_from_data is None:
        return prior.init(key_init)

    def program(params: VAEParams, key: jax.Array, data: Any, places: Any) -> dict[str, jax.Array]:
        beside = {name: value for name, value in data.items() if name != "x"}
        return {"z": _sample_latents(vae, params, key, data, places), **beside}

    stream.batches.check_can_be_read_again()
    data = concatenate(map_stream(program, params, key_z, stream))
    if "x" in required_data(prior):
        rows = jax.random.permutation(jax.random.fold_in(key_init, 1), len(data["z"]))[:MOST_EXAMPLES]
        x = pick_examples(stream.batches, np.asarray(rows))["x"]
        data = take_rows(data, rows) | {"x": x}
    if "z" not in required_data(prior):
        data.pop("z")
    return init_from_data(prior, key_init, **data)
