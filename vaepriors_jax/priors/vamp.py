"""The VampPrior: a mixture of the encoder's posteriors at learned pseudo-inputs."""

from collections.abc import Callable, Mapping
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import Prior, chain_of, innermost
from vaepriors_jax.checks import (
    check_choice,
    check_finite,
    check_names,
    check_positive,
    check_positive_integer,
    check_shape,
)
from vaepriors_jax.conditioning import read_condition, take_class
from vaepriors_jax.distributions.conversion import as_latent_distribution
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.posterior_mixture import gaussian_arrays, mixture_of_posteriors
from vaepriors_jax.factories import factory
from vaepriors_jax.networks.variables import split
from vaepriors_jax.priors.bounds import (
    UNIT,
    check_bounds,
    check_within,
    from_bounds,
    from_first_map,
    from_unit,
    to_bounds,
)
from vaepriors_jax.priors.covariates import (
    Covariate,
    check_covariates,
    covariate_values,
    covariates_of_rows,
    init_covariates,
)
from vaepriors_jax.priors.init_from_data import examples_as_inputs, host_generator
from vaepriors_jax.priors.vamp_start import check_start, find_start, rows_of_classes


def convert_from_first_map(prior: Prior, params: Any) -> Any:
    """Converts parameters that an earlier version saved, whose pseudo-inputs had another map into the bounds.

    The pseudo-inputs stay where they are; only their raw values change.

    Args:
        prior: the prior; one that is not a `vamp` and wraps none keeps its parameters.
        params: the parameters of `prior`.
    """
    if prior.inner is not None:
        inner, entry = prior.inner
        if entry is None:
            return convert_from_first_map(inner, params)
        if callable(entry):  # no parameters of its own
            return params
        return params | {entry: convert_from_first_map(inner, params[entry])}
    if prior.config.get("factory") != "vamp" or prior.config.get("bounds", UNIT) is None:
        return params
    raw = params["pseudo_inputs"]
    return params | {"pseudo_inputs": jnp.asarray(from_first_map(np.asarray(raw, np.float64)), raw.dtype)}


def has_pseudo_inputs(prior: Prior) -> bool:
    """Returns whether a prior is a `vamp`, or wraps one."""
    *_, wrapped = chain_of(prior)
    return wrapped.config.get("factory") == "vamp"


def pseudo_inputs(prior: Prior, params: Any) -> jax.Array:
    """Returns the pseudo-inputs u_k of a `vamp` prior in the space of the data: [num_components, *input_shape].

    The prior may wrap the `vamp`, as `transformed` and `two_level` do. For one with state, `params` are its
    `vp.Variables`.

    Raises:
        ValueError: the prior is not a `vamp`.
    """
    if not has_pseudo_inputs(prior):
        raise ValueError(f"Expected a `vamp` prior, which has pseudo-inputs; got {prior!r}.")
    vampprior, params = innermost(prior, split(params)[0])
    return to_bounds(params["pseudo_inputs"], vampprior.config.get("bounds", UNIT))


def pseudo_covariates(prior: Prior, params: Any) -> dict[str, jax.Array]:
    """Returns what a `vamp` prior passes to the encoder beside its pseudo-inputs, by name: [num_components, ...] each.

    Raises:
        ValueError: the prior is not a `vamp`, and wraps none.
    """
    if not has_pseudo_inputs(prior):
        raise ValueError(f"Expected a `vamp` prior, which has pseudo-inputs; got {prior!r}.")
    vampprior, params = innermost(prior, split(params)[0])
    known = check_covariates("covariates", vampprior.config.get("covariates"))
    return covariate_values(known, params)


def component_classes(num_components: int, num_classes: int) -> np.ndarray:
    """The class of each component [num_components], in order; the counts of two classes differ by at most one."""
    return np.arange(num_components) * num_classes // num_components


def log_weights_of_class(logits: jax.Array, members: np.ndarray, y: Any, name: str = "y") -> jax.Array:
    """Log-weights [K] of the components of class y, minus infinity for the others; members is [num_classes, K]."""
    # One set of components and a mask: indexing components by class would copy them for each example.
    mask = take_class(jnp.asarray(members, logits.dtype), y, name)
    log_weights = jax.nn.log_softmax(jnp.where(mask > 0, logits, -jnp.inf))
    return jnp.where(jnp.isnan(mask), jnp.nan, log_weights)


def check_initial_mean(initial_mean: float, bounds: tuple[float, float] | None) -> None:
    """Raises ValueError unless the mean is finite and, with bounds, a fraction of their range."""
    check_finite("initial_mean", initial_mean)
    if bounds is not None and not 0 <= initial_mean <= 1:
        raise ValueError(
            f"Expected `initial_mean` as a fraction of the range of `bounds`, from 0 to 1; got {initial_mean!r}. Where "
            "it is in the units of the data, subtract the lower bound and divide by the range; so with `initial_scale`."
        )


def check_classes(num_components: int, num_classes: int | None, encoder_reads_class: bool) -> None:
    """Raises ValueError for fewer components than classes, or an encoder that reads classes where there are none."""
    if num_classes is None:
        if encoder_reads_class:
            raise ValueError("Expected `num_classes` with `encoder_reads_class=True`; got None.")
        return
    check_positive_integer(num_classes=num_classes)
    if num_components < num_classes:
        raise ValueError(
            f"Expected at least one component for each class; got num_components={num_components} for "
            f"num_classes={num_classes}."
        )


def encode_all(encode_one: Callable[[Any], distrax.Distribution], inputs: tuple[jax.Array, Any]) -> Any:
    """The means and scales of the posteriors of all pseudo-inputs, or None for posteriors of another kind."""
    try:
        return jax.vmap(lambda one: gaussian_arrays(encode_one(one)))(inputs)
    except Exception as error:
        error.add_note(
            f"The encoder was given a pseudo-input of a `vamp` prior, of input_shape={inputs[0].shape[1:]}. Give the "
            "shape of one example of the data as `input_shape`, and what the encoder reads beside x as `covariates`, "
            'such as `covariates={"batch": {"num_classes": 12}}`. A pseudo-input is one array: where x is a dict of '
            "parts, let the encoder take these parts or one vector of all of them."
        )
        raise


def check_beside(covariates: Any, condition: str, encoder_reads_class: bool) -> dict[str, Covariate]:
    """Returns the covariates, or raises ValueError or TypeError if they or the name of the condition make no sense."""
    check_names(condition=condition)
    carried = check_covariates("covariates", covariates)
    if encoder_reads_class and condition in carried:
        raise ValueError(f"Expected {condition!r} in `covariates`, or `encoder_reads_class=True`; got both.")
    return carried


@factory
def vamp(
    num_components: int,
    input_shape: tuple[int, ...],
    *,
    weights: str = "uniform",
    num_classes: int | None = None,
    encoder_reads_class: bool = False,
    condition: str = "y",
    covariates: Mapping[str, Mapping[str, Any]] | None = None,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    initial_mean: float = 0.5,
    initial_scale: float = 0.1,
    start: str = "examples",
) -> Prior:
    r"""VampPrior: $p(z) = \sum_k w_k\, q(z | u_k)$, the encoder's posteriors at learned pseudo-inputs $u_k$.

    The gradient flows through the encoder and into the pseudo-inputs. These live in the space of the data, kept within
    its bounds by a smooth map. A diagonal Gaussian posterior gives a diagonal mixture; any other posterior works
    through its own `log_prob` and `sample`. With `num_classes` each component has a class, and $p(z|y)$ is the mixture
    of the components of class y.

    An encoder that reads more than x (`encoder_context` of the `VAE`) gets `covariates` of the pseudo-inputs' own,
    never those of the example: $p(z) = \sum_k w_k\, q(z | u_k, c_k)$. Real numbers are learned, as u_k is. Integers and
    booleans stay as they are drawn: at random by `init`, and with the examples by `init_from_data(prior, key, x=x,
    batch=batch)`, which is to be preferred. Their parameters are signs of binary digits, whose gradient is 0 and which
    weight decay does not change; an optimiser that adds noise would change them.

    Pseudo-inputs of an encoder of tokens live in the space of its embeddings: let it take integers [T], which it
    embeds, and floats [T, E], which it takes as embedded; pass `input_shape=(T, E)` and `bounds=None`, and start from
    `x=table[tokens]`. `experiments/examples/vamp_tokens.py` shows it. So with an x that is a dict of parts: let the
    encoder take the dict or one vector [D] of all parts, and pass `input_shape=(D,)`.

    Args:
        num_components: number K of pseudo-inputs.
        input_shape: shape of one example x.
        weights: "uniform" or "learned".
        num_classes: if given, the prior is conditional, p(z|y).
        encoder_reads_class: the encoder reads `y` too; it gets the class of each component.
        condition: the name of y, with `num_classes`: the entry of the batch that holds the label.
        covariates: what the encoder reads beside x, by name: {"num_classes": 12} for an integer in [0, 12),
            {"boolean": True} for a boolean, {} for a real number; arrays have a "shape", as in
            {"mask": {"boolean": True, "shape": (784,)}}.
        bounds: the least and the largest value that data can have, (0, 255) for grey levels; or None for data without
            bounds.
        initial_mean: mean of the pseudo-inputs that `init` draws, as a fraction of the range: 0 is the lower bound, 1
            the upper one. Without bounds it is in the units of the data. For a start at training examples see
            `init_from_data`.
        initial_scale: their standard deviation, in the same units.
        start: what `init_from_data` makes pseudo-inputs of: "examples" of the data, drawn without replacement, or the
            centres of "k-means" on at most 10,000 examples x (of each class), with the shares of the clusters as
            learned weights. `vp.stop_gradient(vp.vamp(..., bounds=None))` keeps them as they start.

    Context:
        encode: the encoder with its parameters, from x to q(z|x); a `VAE` passes its own.
        y: the label, with `num_classes`; or an entry of the name that `condition` gives.

    Returns:
        A prior with parameters `pseudo_inputs` [K, *input_shape], before the map into the bounds, `logits` [K] if
        the weights are learned, and `covariates` if there are any. Its KL is a Monte Carlo estimate.

    Raises:
        ValueError: an argument out of range, fewer components than classes, or k-means with covariates.

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> prior = vp.vamp(num_components=5, input_shape=(4,))
        >>> params = prior.init(jax.random.key(0))
        >>> encode = lambda x: vp.normal_diag(x[:2], jnp.ones(2))
        >>> prior.apply(params, encode=encode).log_prob(jnp.zeros(2)).shape
        ()

    References:
        Tomczak & Welling (2018), VAE with a VampPrior, eq. 9. There pseudo-inputs are clipped to [0, 1], where their
        gradient vanishes, and the weights are uniform.
    """
    check_positive_integer(num_components=num_components)
    input_shape = check_shape("input_shape", input_shape)
    check_choice("weights", weights, ("uniform", "learned"))
    bounds = check_bounds(bounds)
    check_initial_mean(initial_mean, bounds)
    check_positive(initial_scale=initial_scale)
    check_classes(num_components, num_classes, encoder_reads_class)
    carried = check_beside(covariates, condition, encoder_reads_class)
    check_start(start, carried)
    classes = component_classes(num_components, num_classes or 1)

    def init(key: jax.Array) -> Any:
        drawn = initial_mean + initial_scale * jax.random.normal(key, (num_components, *input_shape))
        params: dict[str, Any] = {"pseudo_inputs": drawn if bounds is None else from_unit(drawn)}
        if carried:
            params["covariates"] = init_covariates(carried, jax.random.fold_in(key, 1), num_components)
        return params | ({"logits": jnp.zeros(num_components)} if weights == "learned" else {})

    def log_weights(params: Any, context: dict[str, Any]) -> jax.Array:
        logits = params.get("logits", jnp.zeros(num_components, params["pseudo_inputs"].dtype))
        if num_classes is None:
            return jax.nn.log_softmax(logits)
        y = read_condition(context, condition)
        return log_weights_of_class(logits, classes == np.arange(num_classes)[:, None], y, condition)

    def apply(params: Any, *, encode: Callable[..., distrax.Distribution], **context: Any) -> Mixture:
        def encode_one(one: tuple[jax.Array, dict[str, jax.Array]]) -> distrax.Distribution:
            u, beside = one
            return as_latent_distribution(encode(u, **beside))

        beside = covariate_values(carried, params)
        beside |= {condition: jnp.asarray(classes)} if encoder_reads_class else {}
        inputs = (to_bounds(params["pseudo_inputs"], bounds), beside)
        return mixture_of_posteriors(log_weights(params, context), encode_one, inputs, encode_all(encode_one, inputs))

    def init_from_data(key: jax.Array, *, x: Any, **data: Any) -> Any:
        x = examples_as_inputs(x, input_shape)
        check_within(x, bounds)
        groups = rows_of_classes(len(x), data, None if num_classes is None else condition, classes)
        found, params = find_start(start, x, groups, host_generator(key)), init(key)
        dtype = params["pseudo_inputs"].dtype
        params["pseudo_inputs"] = from_bounds(jnp.asarray(found.inputs, dtype), bounds)
        params |= {"logits": jnp.asarray(found.logits, dtype)} if weights == "learned" else {}
        return params | ({"covariates": covariates_of_rows(carried, data, len(x), found.rows)} if carried else {})

    return Prior(init, apply, {}, init_from_data)
