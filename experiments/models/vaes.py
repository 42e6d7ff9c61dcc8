"""The prior families of the comparison, and priors of your own, each with the networks that go with it."""

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from itertools import takewhile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import vaepriors_jax as vp
from experiments.data.dataset import Dataset
from experiments.models.families import families
from experiments.models.image_networks import Down, Up
from experiments.models.likelihoods import Likelihood
from experiments.models.networks import Apply, Decoder, Encoder, TwoLevelEncoder
from experiments.models.posteriors import NORMAL, POSTERIORS, posterior_of
from experiments.models.user_priors import make_user_prior
from vaepriors_jax.base import chain_of
from vaepriors_jax.conditioning import conditions_read
from vaepriors_jax.priors.init_from_data import required_data

Made = tuple[vp.VAE, Callable[[jax.Array], vp.VAEParams]]  # a VAE, and what makes its parameters from a key


class Sizes(NamedTuple):
    """What the models of one comparison share."""

    latent_dim: int
    hidden: tuple[int, ...]
    num_components: int
    flow_layers: int
    flow_hidden: tuple[int, ...]
    pseudo_inputs: str
    network: str = "dense"
    channels: tuple[int, ...] = (16, 32)
    likelihood: str = "bernoulli"
    likelihood_components: int = 5
    likelihood_scale: float = 0.1
    precision: str = "float32"
    levels: int = 1


class InBfloat16(NamedTuple):
    """A network that computes in bfloat16: parameters stay float32, and so does what its distribution computes."""

    apply: Callable[..., Any]

    def __call__(self, params: Any, *inputs: Any, **context: Any) -> Any:
        """Applies the network to rounded parameters and inputs."""

        def half(leaf: Any) -> Any:
            is_float = jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating)
            return jnp.asarray(leaf, jnp.bfloat16) if is_float else leaf

        return self.apply(*jax.tree.map(half, (params, *inputs)), **context)


def make_prior(name: str, sizes: Sizes, data: Dataset) -> vp.Prior:
    """Makes the prior of one family, or one of the user's own; for two levels it is the one on top.

    Raises:
        ValueError: neither a family nor the module:function of a prior.
    """
    dim, makers = sizes.latent_dim, families(sizes, data)
    if name in makers:
        prior = makers[name]()
    elif ":" in name:
        known = {"dim": dim, "num_components": sizes.num_components}
        known |= {"input_shape": data.image_shape, "num_classes": data.num_classes}
        prior = make_user_prior(name, known)
    else:
        raise ValueError(
            f"Expected a prior among {', '.join(makers)}, or one of your own as module:function; got {name!r}."
            + "".join(f" Did you mean {close!r}?" for close in get_close_matches(name, makers, 1))
        )
    return prior if sizes.levels == 1 else vp.two_level(prior, dim, dim, hidden=sizes.hidden)


def prior_reads_label(prior: vp.Prior) -> bool:
    """Whether a prior reads the label: it, or the prior that it wraps, needs `y`, or has classes."""
    wrapped = takewhile(lambda one: "class_probabilities" not in one.config, chain_of(prior))
    parameters = (inspect.signature(one.apply).parameters.get("y") for one in wrapped)
    needs_label = next((y.default is y.empty for y in parameters if y is not None), False)
    return needs_label or any(read.name == "y" for read in conditions_read(prior.config))


def prior_reads_index(prior: vp.Prior) -> bool:
    """Whether a prior, or one that it wraps, reads the place of each training example, to leave that one out."""
    return any("index" in inspect.signature(one.apply).parameters for one in chain_of(prior))


def prior_solves_ode(prior: vp.Prior) -> bool:
    """Whether each density of a prior, or of one that it wraps, is the solution of an ODE."""
    return any(one.config.get("factory") in ("flow_matching", "diffusion") for one in chain_of(prior))


def starts_from_examples(prior: vp.Prior) -> bool:
    """Whether a prior can start from data before there are encodings."""
    return prior.init_from_data is not None and "z" not in required_data(prior)


def starts_from_data(prior: vp.Prior, sizes: Sizes) -> bool:
    """Whether a prior starts from training images: if `--pseudo-inputs` says so, or because it does not learn."""
    is_fixed = any(one.config.get("factory") == "stop_gradient" for one in chain_of(prior))
    return starts_from_examples(prior) and (is_fixed or sizes.pseudo_inputs == "data")


def num_entries(name: str, sizes: Sizes) -> int:
    """Entries of z, of all levels, with the prior of this name."""
    return sizes.levels * sizes.latent_dim + POSTERIORS[posterior_of(name)].num_more


def make_networks(
    sizes: Sizes, data: Dataset, num_classes: int | None, posterior: str = NORMAL
) -> tuple[Encoder | TwoLevelEncoder, Decoder]:
    """Makes the encoder and the decoder; beside convolutions there is one dense layer, the last width of `hidden`."""
    likelihood = Likelihood(
        sizes.likelihood,
        data.num_levels or 2,
        sizes.likelihood_components,
        sizes.likelihood_scale,
        data.image_shape[2:],
    )
    hidden, down, up = sizes.hidden, None, None
    layers = "tanh" if sizes.network == "tanh" else "gated"
    if sizes.network in ("conv", "resnet"):
        hidden, residual = sizes.hidden[-1:], sizes.network == "resnet"
        down = Down(sizes.channels, residual)
        up = Up(data.image_shape, sizes.channels, likelihood.num_outputs, residual)
    encoder = Encoder(sizes.latent_dim, hidden, num_classes, down, layers, posterior)
    decoder = Decoder(data.image_shape, hidden, num_classes, up, likelihood, sizes.levels, layers, posterior)
    return encoder if sizes.levels == 1 else TwoLevelEncoder(encoder, encoder), decoder


@partial(jax.jit, static_argnums=0)  # one program instead of one for each operation
def _init(network: Any, key: jax.Array, inputs: jax.Array, label: Any) -> Any:
    return network.init(key, inputs, **label)


def make_vae(name: str, sizes: Sizes, data: Dataset) -> Made:
    """Makes the VAE of one family, and the function that makes its parameters from a key.

    A prior that reads the label makes a conditional VAE: prior, encoder and decoder all read it. One over another space
    than R^n has an encoder whose posterior is over that space.
    """
    prior = make_prior(name, sizes, data)
    conditional = prior_reads_label(prior)
    num_classes = data.num_classes if conditional else None
    encoder, decoder = make_networks(sizes, data, num_classes, posterior_of(name))
    context = ("y",) if conditional else ()
    encode, decode = Apply(encoder), Apply(decoder)
    if sizes.precision == "bfloat16":
        encode, decode = InBfloat16(encode), InBfloat16(decode)
    vae = vp.VAE(encode, decode, prior, context, context)

    label: Any = {"y": 0} if conditional else {}

    def init(key: jax.Array) -> vp.VAEParams:
        key_encoder, key_decoder, key_prior = jax.random.split(key, 3)
        params = vp.VAEParams(
            _init(encoder, key_encoder, jnp.zeros(data.image_shape), label),
            _init(decoder, key_decoder, jnp.zeros(num_entries(name, sizes)), label),
            jax.jit(prior.init)(key_prior),
        )
        if starts_from_data(prior, sizes):
            params = params._replace(prior=vp.init_from_data(prior, key_prior, **data.train))
        if prior.init_state is None:
            return params
        return vp.init_prior_state(vae, params, key=jax.random.fold_in(key_prior, 1), **data.train)

    return vae, init
