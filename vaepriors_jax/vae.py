"""A VAE as an encoder, a decoder and a prior."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Params, Prior
from vaepriors_jax.checks import did_you_mean
from vaepriors_jax.distributions.conversion import as_latent_distribution, as_likelihood
from vaepriors_jax.factories import check_is
from vaepriors_jax.networks.variables import State, Variables, call_in_training, join, split
from vaepriors_jax.trees import map_arrays


class Network(Protocol):
    """An encoder or decoder for one example, such as the `apply` of a Linen module.

    The extra arguments are spelled so that type checkers take any function of parameters and one input.
    """

    def __call__(self, params: Params, inputs: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Encoder: x to q(z|x) over z [dim]. Decoder: z [dim] to p(x|z) over an x of the data's shape.

        Where an example is a dict of arrays, so is x.
        """
        ...


class VAEParams(NamedTuple):
    """The parameters of a VAE.

    Attributes:
        encoder: parameters of the encoder, or `vp.Variables` for one with state or noise.
        decoder: parameters of the decoder, or `vp.Variables`.
        prior: parameters of the prior; {} for one that has none. For a prior with state they are `vp.Variables`, which
            `vp.init_prior_state` makes.
    """

    encoder: Params
    decoder: Params
    prior: Params


class VAE(NamedTuple):
    """A variational autoencoder: an encoder q(z|x), a decoder p(x|z) and a prior p(z).

    Attributes:
        encode: `encode(params, x)` gives the distribution q(z|x) over z [dim] for one example x. An encoder with
            BatchNorm or Dropout is a `TrainableNetwork`, such as `vp.linen_network(module)`.
        decode: `decode(params, z)` gives the distribution p(x|z) for one z [dim]; or a `TrainableNetwork`.
        prior: the prior p(z).
        encoder_context: names of per-example context that the encoder reads, passed by keyword, such as `("y",)`.
        decoder_context: the same for the decoder.
        latent_shape: the shape of z in the networks where it is no vector, such as (4, 4, 2). The encoder then returns
            a distribution over such an array, such as `vp.normal_diag(loc, scale)`, and the decoder takes one. The
            prior and all evaluations see a vector of 32.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(params["weight"] @ x, jnp.ones(2)),
        ...     decode=lambda params, z: vp.normal_diag(params["weight"] @ z, jnp.ones(3)),
        ...     prior=vp.standard_normal(2),
        ... )
        >>> params = vp.VAEParams({"weight": jnp.ones((2, 3))}, {"weight": jnp.ones((3, 2))}, {})
        >>> vae.posterior(params, jnp.ones(3)).mean()
        Array([3., 3.], dtype=float32)
        >>> vp.generate(vae, params, jax.random.key(0), 5).shape
        (5, 3)
    """

    encode: Network
    decode: Network
    prior: Prior
    encoder_context: tuple[str, ...] = ()
    decoder_context: tuple[str, ...] = ()
    latent_shape: tuple[int, ...] | None = None

    def posterior(self, params: VAEParams, x: Any, **context: Any) -> distrax.Distribution:
        """Returns q(z|x) for one example, in evaluation."""
        read = _select(context, self.encoder_context, "encoder")
        networks = check_params(params)
        with _explaining("encoder", "x", x):
            q = self.encode(networks.encoder, x, **read)
        return as_latent_distribution(q, latent_shape=self.latent_shape)

    def likelihood(self, params: VAEParams, z: jax.Array, **context: Any) -> distrax.Distribution:
        """Returns p(x|z) for one z [dim], in evaluation."""
        read = _select(context, self.decoder_context, "decoder")
        networks = check_params(params)
        with _explaining("decoder", "z", z):
            likelihood = self.decode(networks.decoder, self._as_array(z), **read)
        return as_likelihood(likelihood)

    def train_posterior(
        self, params: VAEParams, key: jax.Array, x: Any, **context: Any
    ) -> tuple[distrax.Distribution, State]:
        """Returns q(z|x) for one example of a training batch, and the encoder's new state."""
        read = _select(context, self.encoder_context, "encoder")
        with _explaining("encoder", "x", x):
            q, state = call_in_training(self.encode, check_params(params).encoder, x, key, read)
        return as_latent_distribution(q, latent_shape=self.latent_shape), state

    def train_likelihood(
        self, params: VAEParams, key: jax.Array, z: jax.Array, **context: Any
    ) -> tuple[distrax.Distribution, State]:
        """Returns p(x|z) for one z [dim] of a training batch, and the decoder's new state."""
        read = _select(context, self.decoder_context, "decoder")
        with _explaining("decoder", "z", z):
            likelihood, state = call_in_training(
                self.decode, check_params(params).decoder, self._as_array(z), key, read
            )
        return as_likelihood(likelihood), state

    def _as_array(self, z: jax.Array) -> jax.Array:
        """A vector z in the shape that the decoder takes."""
        if self.latent_shape is None:
            return z
        if math.prod(self.latent_shape) != z.shape[-1]:
            raise ValueError(
                f"Expected a prior over {math.prod(self.latent_shape)} dimensions, as `latent_shape` "
                f"{list(self.latent_shape)} has them; got z of {z.shape[-1]}."
            )
        return z.reshape(*self.latent_shape)

    def encoder_with(self, params: VAEParams) -> Callable[..., distrax.Distribution]:
        """Returns the encoder with its parameters, from x to q(z|x), which priors read as the context `encode`."""

        def encode(x: Any, **encoder_context: Any) -> distrax.Distribution:
            return self.posterior(params, x, **encoder_context)

        return encode

    def latent_prior(self, params: VAEParams, **context: Any) -> distrax.Distribution:
        """Returns p(z). Priors that read the encoder, such as `vamp`, get it as context."""
        check_is(Prior, self.prior, ", as the `prior` of the `vp.VAE`")

        prior_params, state = split(check_params(params).prior)
        context = {"encode": self.encoder_with(params)} | (state[0] if state else {}) | context
        return as_latent_distribution(self.prior.apply(prior_params, **context), "prior")

    def next_prior_state(self, params: VAEParams, batch: Mapping[str, Any], moves: jax.Array) -> State:
        """Returns the prior's state after a training step on a batch {"x": [B, ...], ...}, if that step `moves`."""
        state = split(params.prior)[1]
        if not state or self.prior.update_state is None:
            return state

        # Entries that never change, such as a whole data set, take no part: a choice between them would copy them.
        given = {"encode": self.encoder_with(params), "params": split(params.prior)[0]}
        new = self.prior.update_state(state[0], **given, **batch)
        return (state[0] | {name: jnp.where(moves, value, state[0][name]) for name, value in new.items()},)


def check_params(params: Any) -> VAEParams:
    """Returns parameters as `VAEParams`, or raises TypeError."""
    if not isinstance(params, tuple) or len(params) != len(VAEParams._fields):
        raise TypeError(f"Expected `params` as `vp.VAEParams(encoder, decoder, prior)`; got {type(params).__name__}.")
    return VAEParams(*params)


def _no_prior(*args: Any, **kwargs: Any) -> Any:
    raise TypeError("Expected a `vp.VAE` with a prior; got its encoder and decoder alone.")


def without_prior(vae: VAE, params: VAEParams) -> tuple[VAE, VAEParams]:
    """The encoder and the decoder alone: for what reads no prior, VAEs that differ in theirs share one program."""
    return vae._replace(prior=Prior(_no_prior, _no_prior, {"factory": "no_prior"})), params._replace(prior={})


class States(NamedTuple):
    """The states of a VAE, () where there is none."""

    encoder: State = ()
    decoder: State = ()
    prior: State = ()


def split_states(params: VAEParams) -> tuple[VAEParams, States]:
    """Splits the variables of a VAE into its parameters, which an optimiser changes, and its states."""
    parameters, states = zip(*map(split, params), strict=True)
    return VAEParams(*parameters), States(*states)


def join_states(params: VAEParams, states: States) -> VAEParams:
    """Puts together what `split_states` gives."""
    return VAEParams(*map(join, params, states))


def init_prior_state(vae: VAE, params: VAEParams, **data: Any) -> VAEParams:
    """Gives a prior its state, such as the exemplars of `exemplar`.

    The state is in the `vp.Variables` of the prior, beside its parameters. Training, evaluation, checkpoints and
    `save_model` carry it. The optimiser does not move it.

    Args:
        vae: the VAE.
        params: its parameters.
        **data: what the state is made of, such as training examples `x` [N, ...].

    Returns:
        The parameters, with the prior's state.

    Raises:
        ValueError: the prior has no state.
        TypeError: data missing that the prior reads.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(params @ x, jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(params @ z),
        ...     prior=vp.exemplar(2))
        >>> params = vp.VAEParams(jnp.ones((2, 3)), jnp.ones((3, 2)), vae.prior.init(jax.random.key(0)))
        >>> params = vp.init_prior_state(vae, params, x=jnp.ones((50, 3)))
        >>> params.prior.state["exemplars"].shape
        (50, 3)
    """
    if vae.prior.init_state is None:
        raise ValueError(f"Expected a prior with state, such as `vp.exemplar(2)`; got {vae.prior!r}, which has none.")
    params = check_params(params)

    prior_params = split(params.prior)[0]
    state = vae.prior.init_state(**{"encode": vae.encoder_with(params), "params": prior_params, **data})
    return params._replace(prior=Variables(prior_params, state))


def check_prior_state(vae: VAE, params: VAEParams) -> None:
    """Raises ValueError if the prior trains with a state, and the parameters hold none."""
    if vae.prior.init_state is not None and not split(check_params(params).prior)[1]:
        raise ValueError(
            f"Expected parameters with the state of the prior {vae.prior!r}; they have none. Make it before training, "
            "by `params = vp.init_prior_state(vae, params, ...)`."
        )


@contextmanager
def _explaining(network: str, name: str, value: Any) -> Iterator[None]:
    """Adds a note to an error of a network: what it was given."""
    try:
        yield
    except Exception as error:
        shapes = map_arrays(lambda array: list(np.shape(array)), value)
        error.add_note(
            f"This came from the {network}, which takes one example; it was given {name} of shape {shapes}. "
            "For a batch, map over the examples with `jax.vmap`."
        )
        raise


def _select(context: Mapping[str, Any], names: tuple[str, ...], reader: str) -> dict[str, Any]:
    missing = [name for name in names if name not in context]
    if missing:
        raise TypeError(
            f"The {reader} reads the context {names}; missing: {', '.join(map(repr, missing))}. Pass it by keyword, or "
            f"as an entry of the batch.{did_you_mean(missing, context)}"
        )
    return {name: context[name] for name in names}


def context_of(example: Mapping[str, Any]) -> dict[str, Any]:
    """The context in an example or a batch: all entries but x, and the weight of an example."""
    return {name: value for name, value in example.items() if name not in ("x", "weight")}
