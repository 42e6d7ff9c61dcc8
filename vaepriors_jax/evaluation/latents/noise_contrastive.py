"""Fits the weights of a `reweighted` prior to a trained VAE by a classifier: a noise-contrastive prior."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from vaepriors_jax.base import Prior
from vaepriors_jax.checks import check_positive, check_positive_integer
from vaepriors_jax.data_checks import check_data, check_model
from vaepriors_jax.evaluation.latents.aggregated_posterior import posterior_of
from vaepriors_jax.factories import check_is
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.networks.variables import join, split
from vaepriors_jax.training.streams import is_stream
from vaepriors_jax.trees import num_rows, take_rows
from vaepriors_jax.vae import VAE, VAEParams, init_prior_state

STEPS_PER_CHECK = 50
PATIENCE = 10  # checks without a better loss on held-out encodings, after which training stops
LEAST_GAIN = 2.0  # a classifier is kept if its loss on them is below chance by this many standard errors

Data = dict[str, jax.Array]


class _Contrast(NamedTuple):
    """What is fitted, and how; static for `jit`."""

    vae: VAE  # with the reweighted prior
    num_steps: int
    batch_size: int

    def encodings(self, params: VAEParams, key: jax.Array, data: Data) -> jax.Array:
        """One z for each example [N, dim]."""
        keys = jax.random.split(key, num_rows(data))

        def draw(inputs: tuple[jax.Array, Data]) -> jax.Array:
            key, example = inputs
            return posterior_of(self.vae, params, example).sample(seed=key)

        return map_chunks(draw, (keys, data), 1000)

    def samples(self, params: VAEParams, key: jax.Array, count: int) -> jax.Array:
        """Samples of the base prior [count, dim]."""
        return self.vae.latent_prior(params).base.sample(seed=key, sample_shape=count)

    def losses(self, params: VAEParams, weight: Any, q: jax.Array, p: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Cross-entropies in nats of the classifier whose logit is log r, at encodings and at samples of the base."""
        prior_params, state = split(params.prior)
        prior = self.vae.latent_prior(params._replace(prior=join({**prior_params, "weight": weight}, state)))
        return jax.nn.softplus(-prior.log_weight(q)), jax.nn.softplus(prior.log_weight(p))

    def loss(self, params: VAEParams, weight: Any, q: jax.Array, p: jax.Array) -> jax.Array:
        """The mean cross-entropy; both classes count alike."""
        return 0.5 * sum((jnp.mean(values) for values in self.losses(params, weight, q, p)), jnp.zeros(()))

    def step(self, params: VAEParams, optimizer: Any, carry: Any, key: jax.Array, data: Data) -> Any:
        """A step of Adam on encodings and samples that are drawn anew."""
        weight, state = carry
        key_rows, key_q, key_p = jax.random.split(key, 3)
        rows = jax.random.randint(key_rows, (self.batch_size,), 0, num_rows(data))
        q = self.encodings(params, key_q, jax.tree.map(lambda array: array[rows], data))
        gradient = jax.grad(partial(self.loss, params))(weight, q, self.samples(params, key_p, self.batch_size))
        updates, state = optimizer.update(gradient, state, weight)
        return optax.apply_updates(weight, updates), state


@partial(jax.jit, static_argnums=0)
def _train(
    contrast: _Contrast, params: VAEParams, key: jax.Array, data: Data, held_out: Data, learning_rate: jax.Array
) -> tuple[Any, jax.Array]:
    """The weights at the least loss on held-out encodings, and whether it is clearly below chance."""
    start, num_steps = split(params.prior)[0]["weight"], contrast.num_steps
    key_q, key_p, key_steps = jax.random.split(key, 3)
    valid = contrast.encodings(params, key_q, held_out), contrast.samples(params, key_p, num_rows(held_out))
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    def unfinished(carry: Any) -> jax.Array:
        _, _, index, (_, _, best_index) = carry
        return (index < num_steps) & (index - best_index <= PATIENCE * STEPS_PER_CHECK)

    def until_next_check(carry: Any) -> Any:
        weight, state, index, best = carry
        end = jnp.minimum(index + STEPS_PER_CHECK, num_steps)

        def step(index: jax.Array, carry: Any) -> Any:
            return contrast.step(params, optimizer, carry, jax.random.fold_in(key_steps, index), data)

        weight, state = jax.lax.fori_loop(index, end, step, (weight, state))
        loss = contrast.loss(params, weight, *valid)
        best = jax.tree.map(lambda new, old: jnp.where(loss < best[1], new, old), (weight, loss, end), best)
        return weight, state, end, best

    first = start, contrast.loss(params, start, *valid), jnp.zeros((), int)
    *_, (best, least, _) = jax.lax.while_loop(
        unfinished, until_next_check, (start, optimizer.init(start), first[2], first)
    )
    # The least of many losses can be below chance by luck, even if q and p are equal.
    error = 0.5 * jnp.sqrt(sum(jnp.var(one) / len(one) for one in contrast.losses(params, best, *valid)))
    return best, jnp.log(2.0) - least > LEAST_GAIN * error


def reweight_prior(
    prior: Prior,
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    num_steps: int = 5000,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    held_out_fraction: float = 0.1,
    **context: Any,
) -> VAEParams:
    r"""Reweights the prior of a trained VAE so that it agrees with the encodings: a noise-contrastive prior (NCP).

    A classifier D learns to distinguish encodings, one z for each example, from samples of the VAE's prior p(z). Its
    ratio $r(z) = D(z) / (1 - D(z))$ estimates q(z) / p(z), and the new prior is $p(z) r(z) / Z$. The encoder, the
    decoder and p(z) keep their parameters. Both kinds of z are drawn anew in each step. A part of the examples is held
    out: training stops where the loss on their encodings no longer falls, and takes the classifier at its minimum. If
    that is not below chance by two standard errors, r is 1 everywhere, and the prior stays as it was.

    Args:
        prior: `vp.reweighted(vae.prior, dim)`, over the prior of the VAE.
        vae: the trained VAE.
        params: the parameters of the VAE.
        key: a random key.
        x: the data set [N, ...], at least 20 examples.
        num_steps: the most steps of Adam.
        batch_size: encodings in a step, and as many samples of p(z).
        learning_rate: of Adam, decayed to 0 by a cosine.
        held_out_fraction: share of the examples that is held out, between 0 and 1.
        **context: per-example context [N, ...] that the encoder reads.

    Returns:
        The parameters with those of `prior` in their place, and Z in its state: use them with
        `vae._replace(prior=prior)`.

    Raises:
        TypeError: the arguments are in another order, or batches in place of an array.
        ValueError: another prior, an option out of range, or weights that are not finite.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(x, 0.1 * jnp.ones(2)),
        ...     decode=lambda params, z: vp.normal_diag(z, jnp.ones(2)),
        ...     prior=vp.standard_normal(2))
        >>> x = 0.3 * jax.random.normal(jax.random.key(0), (1000, 2))
        >>> prior = vp.reweighted(vae.prior, dim=2)
        >>> params = vp.reweight_prior(prior, vae, vp.VAEParams({}, {}, {}), jax.random.key(1), x, num_steps=500)
        >>> fitted = vae._replace(prior=prior).latent_prior(params)
        >>> bool(fitted.log_prob(jnp.zeros(2)) > vae.latent_prior(vp.VAEParams({}, {}, {})).log_prob(jnp.zeros(2)) + 1)
        True

    References:
        Aneja, Schwing, Kautz & Vahdat (2021), A contrastive learning approach for training variational autoencoder
        priors, section 3.1, eq. 5.
    """
    if not isinstance(prior, Prior) or not isinstance(vae, VAE):
        raise TypeError(
            f"Expected a `vp.Prior` and a `vp.VAE` as the first arguments; got {type(prior).__name__} and "
            f"{type(vae).__name__}. The order is prior, vae, params, key, x."
        )
    check_is(Prior, prior, ", as `prior`")
    params, key = check_model(vae, params, key)
    _check_prior(prior, vae)
    check_positive_integer(num_steps=num_steps, batch_size=batch_size)
    check_positive(learning_rate=learning_rate)
    if not 0 < held_out_fraction < 1:
        raise ValueError(f"Expected `held_out_fraction` between 0 and 1; got {held_out_fraction!r}.")
    if is_stream(x):
        raise TypeError("Expected an array of examples in `x`; got batches. `vp.fit_prior` takes batches.")
    data = check_data(vae, params, {"x": x, **context}, key)
    if num_rows(data) < 20:
        raise ValueError(f"Expected at least 20 examples in `x`, some of which are held out; got {num_rows(data)}.")
    key_init, key_order, key_train = jax.random.split(key, 3)
    own = prior.init(key_init) | {"base": split(params.prior)[0]}
    fitted = vae._replace(prior=prior)
    start = init_prior_state(fitted, params._replace(prior=own), x=data["x"])
    order = jax.random.permutation(key_order, num_rows(data))
    count = min(max(10, round(held_out_fraction * len(order))), len(order) - 10)
    parts = [take_rows(data, rows) for rows in (order[count:], order[:count])]
    contrast = _Contrast(fitted, num_steps, batch_size)
    weight, is_better = _train(contrast, start, key_train, *parts, jnp.asarray(learning_rate))
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(weight)):
        raise ValueError(f"Expected finite weights while fitting {prior!r}. Lower `learning_rate`.")
    weight = weight if bool(is_better) else own["weight"]
    return init_prior_state(fitted, start._replace(prior=own | {"weight": weight}), x=data["x"])


def _check_prior(prior: Prior, vae: VAE) -> None:
    """Raises ValueError unless the prior is `reweighted`, and over the prior of the VAE."""
    is_reweighted = prior.config.get("factory") == "reweighted"
    if not is_reweighted or prior.inner is None or prior.inner.prior != vae.prior:
        raise ValueError(
            f"Expected `vp.reweighted(vae.prior, dim)`, over the prior of the VAE, {vae.prior!r}; got {prior!r}."
        )
