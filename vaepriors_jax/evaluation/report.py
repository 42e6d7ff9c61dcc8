"""One call that measures a trained VAE: likelihood, prior hole, latents and samples."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.checks import check_positive_integer
from vaepriors_jax.data_checks import check_data, check_model
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.two_level import top_level
from vaepriors_jax.evaluation.estimates import Estimate, estimate
from vaepriors_jax.evaluation.latents.aggregated_posterior import aggregated_posterior, posterior_of
from vaepriors_jax.evaluation.latents.components import mixture_usage
from vaepriors_jax.evaluation.latents.dimensions import latent_dimensions
from vaepriors_jax.evaluation.latents.divergence import classifier_divergence
from vaepriors_jax.evaluation.latents.hole_mass import hole_mass
from vaepriors_jax.evaluation.likelihood.class_marginal import log_marginal_over_classes
from vaepriors_jax.evaluation.likelihood.elbo import evaluate_elbo
from vaepriors_jax.evaluation.likelihood.importance_sampling import LogMarginal, log_marginal
from vaepriors_jax.evaluation.per_example import refuse_weights
from vaepriors_jax.evaluation.report_table import Hole, Latents, Likelihood, Report
from vaepriors_jax.evaluation.samples.quality import SampleQuality, sample_quality
from vaepriors_jax.generation import generate
from vaepriors_jax.loops import map_chunks
from vaepriors_jax.parallel.sharding import example_keys
from vaepriors_jax.priors.marginalize import marginalize
from vaepriors_jax.training.streams import is_stream
from vaepriors_jax.trees import num_rows, take_rows
from vaepriors_jax.vae import VAE, VAEParams, context_of

LEAST_FOR_DIVERGENCE, LEAST_FOR_HOLE_MASS = 20, 100
AT_ONCE = 500  # examples that are drawn at a time

Examples = dict[str, Any]
Value = TypeVar("Value")


def report(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    x: Any,
    *,
    train: Mapping[str, Any] | None = None,
    features: Callable[[Any], Any] | None = None,
    class_probabilities: Any = None,
    num_samples: int = 500,
    **context: Any,
) -> Report:
    r"""Measures a trained VAE: its likelihood, the hole of its prior, the use of its latents, and its samples.

    The result prints as a table, with the unit, the standard error and the bias of each number. What cannot be measured
    is None, and the table says why. Each measure has a function of its own with more options: `log_marginal`,
    `evaluate_elbo`, `classifier_divergence`, `hole_mass`, `latent_dimensions`, `mixture_usage` and `sample_quality`.

    Context is what the model reads beside x. With it, the ELBO is a bound of log p(x|y), and log p(x) and the hole need
    `class_probabilities`.

    Args:
        vae: the VAE.
        params: its parameters.
        key: a random key.
        x: examples [N, ...] on which neither the VAE nor the prior was trained. A classifier learns from the encodings
            of one half, and tells encodings from samples of the prior on the other.
        train: training examples, {"x": [M, ...]} and their context. The latents and the hole mass are then those of the
            training set instead of x, and samples can be scored.
        features: `features(x)` maps examples [N, ...] to features [N, F], by which samples are scored; see
            `sample_quality`.
        class_probabilities: p(y) [C], where the model reads a label `y`.
        num_samples: importance samples for each example.
        **context: per-example context [N, ...] that the model reads, such as `y=`.

    Returns:
        A `Report`.

    Raises:
        ValueError: data that are not finite or outside the likelihood's support; `class_probabilities` without `y`.
        TypeError: batches that stream; `train` is not a dict with an entry "x".

    Example:
        >>> import jax, jax.numpy as jnp, vaepriors_jax as vp
        >>> vae = vp.VAE(
        ...     encode=lambda params, x: vp.normal_diag(jnp.zeros(2), jnp.ones(2)),
        ...     decode=lambda params, z: vp.bernoulli(jnp.zeros(3)),
        ...     prior=vp.standard_normal(2))
        >>> report = vp.evaluation.report(vae, vp.VAEParams({}, {}, {}), jax.random.key(0), jnp.ones((10, 3)))
        >>> print(f"{report.likelihood.log_marginal.mean:.4f} {report.likelihood.elbo.mean:.4f}")
        -2.0794 -2.0794
        >>> report.latents.active_units, report.latents.dim
        (0, 2)
        >>> print(report.missing["divergence"])
        Takes at least 20 examples; got 10.
    """
    params, key = check_model(vae, params, key)
    check_positive_integer(num_samples=num_samples)
    _check_arrays(x, train)
    if class_probabilities is not None and "y" not in context:
        raise ValueError("Expected the labels `y=` of the examples with `class_probabilities`; got none.")
    refuse_weights({*context, *(train or {})}, "report")
    data = check_data(vae, params, {"x": x, **context}, key)
    trained_on = data if train is None else check_data(vae, params, dict(train), key)
    keys = jax.random.split(key, 4)
    missing: dict[str, str] = {}
    likelihood = _likelihood(vae, params, keys[0], data, class_probabilities, num_samples, missing)
    hole = _hole(vae, params, keys[1], data, trained_on, class_probabilities, missing)
    latents = _latents(vae, params, keys[2], trained_on, missing)
    samples = _samples(vae, params, keys[3], data, None if train is None else trained_on, features, missing)
    return Report(likelihood, hole, latents, samples, num_rows(data), num_samples, tuple(context), missing)


def _check_arrays(x: Any, train: Any) -> None:
    if is_stream(x):
        raise TypeError(
            f"Expected `x` as an array of examples [N, ...]; got batches, {type(x).__name__}. Call the functions of "
            "its measures, such as `log_marginal`, which take batches."
        )
    if train is not None and not (isinstance(train, Mapping) and "x" in train):
        raise TypeError(f'Expected `train` as a dict {{"x": [M, ...]}}; got {type(train).__name__}.')


def _attempt(missing: dict[str, str], name: str, measure: Callable[[], Value]) -> Value | None:
    """A measure, or None and its reason where it refuses the model or the data, which were checked before."""
    try:
        return measure()
    except ValueError as error:
        missing[name] = str(error)
        return None


def _refuse(reason: str) -> None:
    raise ValueError(reason)


def _number(value: Estimate[jax.Array]) -> Estimate[float]:
    return Estimate(float(value.mean), float(value.standard_error))


def _likelihood(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: Examples,
    class_probabilities: Any,
    num_samples: int,
    missing: dict[str, str],
) -> Likelihood:
    key_elbo, key_weights = jax.random.split(key)
    terms = evaluate_elbo(vae, params, key_elbo, **data)
    given = log_marginal(vae, params, key_weights, num_samples=num_samples, **data)
    marginal: LogMarginal | None = given
    if context := context_of(data):
        marginal = None
        if class_probabilities is None:
            missing["log p(x)"] = f"The model was given {', '.join(context)}; `class_probabilities` sums over classes."
        else:
            examples = {name: value for name, value in data.items() if name != "y"}
            options: dict[str, Any] = {"class_probabilities": class_probabilities, "num_samples": num_samples}
            marginal = log_marginal_over_classes(vae, params, key_weights, **examples, **options)
    best = given if marginal is None else marginal
    sizes = [size for size in best.curve if 10 * size <= num_samples]
    return Likelihood(
        log_marginal=None if marginal is None else _number(marginal.average),
        log_marginal_given_context=_number(given.average) if context else None,
        elbo=_number(estimate(terms.elbo)),
        reconstruction=_number(estimate(terms.reconstruction)),
        kl=_number(estimate(terms.kl)),
        rise=float(best.mean - best.curve[sizes[-1]]) if sizes else float("nan"),
        unreliable=_unreliable(best, num_samples),
        normalizer_error=None if best.normalizer_error is None else float(jnp.mean(best.normalizer_error)),
        normalizer_bias=None if best.normalizer_bias is None else float(jnp.mean(best.normalizer_bias)),
    )


def _unreliable(weighted: LogMarginal, num_samples: int) -> float:
    """Share of examples with heavy-tailed weights; NaN for samples too few to tell."""
    if num_samples < 30:
        return float("nan")
    unequal = weighted.effective_sample_size < 0.999 * num_samples  # otherwise k is that of rounding errors
    return float(jnp.mean((weighted.pareto_k > 0.7) & unequal))


@partial(jax.jit, static_argnums=0)
def _draw_encodings(vae: VAE, params: VAEParams, key: jax.Array, data: Examples) -> jax.Array:
    """One z of q(z|x) for each example [N, dim]."""
    inputs = example_keys(key, num_rows(data), None), data

    def draw(inputs: tuple[jax.Array, Examples]) -> jax.Array:
        key, example = inputs
        return posterior_of(vae, params, example).sample(seed=key)

    return map_chunks(draw, inputs, AT_ONCE)


def _hole(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: Examples,
    trained_on: Examples,
    class_probabilities: Any,
    missing: dict[str, str],
) -> Hole:
    num = num_rows(data)
    if context_of(data):
        if class_probabilities is None:
            missing["divergence"] = missing["hole mass"] = "The prior was given context, q(z) has none."
            return Hole(None, None, None, num // 2)
        probabilities = tuple(float(value) for value in np.asarray(class_probabilities))
        vae = vae._replace(prior=marginalize(vae.prior, probabilities))
    keys = jax.random.split(key, 4)
    prior = vae.latent_prior(params)

    def separate() -> Any:
        if num < LEAST_FOR_DIVERGENCE:
            _refuse(f"Takes at least {LEAST_FOR_DIVERGENCE} examples; got {num}.")
        order = jax.random.permutation(keys[0], num)
        encodings = _draw_encodings(vae, params, keys[1], data)[order]
        drawn = prior.sample(seed=keys[2], sample_shape=num)
        half = num // 2
        return classifier_divergence(keys[3], encodings[half:], drawn[half:], encodings[:half], drawn[:half])

    def mass() -> Estimate[float]:
        if num_rows(trained_on) < LEAST_FOR_HOLE_MASS:
            _refuse(f"Takes at least {LEAST_FOR_HOLE_MASS} examples; got {num_rows(trained_on)}.")
        aggregated = aggregated_posterior(vae, params, **trained_on)
        return _number(hole_mass(prior, aggregated, keys[0], num_samples=5000).prior_in_holes)

    apart = _attempt(missing, "divergence", separate)
    return Hole(
        divergence=apart and _number(apart.jensen_shannon),
        accuracy=apart and _number(apart.accuracy),
        hole_mass=_attempt(missing, "hole mass", mass),
        num_encodings=num - num // 2,
    )


def _latents(vae: VAE, params: VAEParams, key: jax.Array, data: Examples, missing: dict[str, str]) -> Latents:
    first = take_rows(data, 0)
    prior = vae.latent_prior(params, **context_of(first))
    top, _ = top_level(prior, jnp.zeros(prior.event_shape))
    dimensions = _attempt(missing, "active units", lambda: latent_dimensions(vae, params, key, **data))
    usage = _attempt(missing, "components", lambda: mixture_usage(vae, params, key, **data))
    return Latents(
        dim=int(prior.event_shape[0]),
        active_units=None if dimensions is None else int(dimensions.active.sum()),
        collapsed=None if dimensions is None else int(dimensions.collapsed.sum()),
        components_used=None if usage is None else float(usage.responsibility_perplexity),
        num_components=top.num_components if isinstance(top, Mixture) else None,
    )


@partial(jax.jit, static_argnums=0)
def _draw_examples(vae: VAE, params: VAEParams, keys: jax.Array, context: Examples) -> jax.Array:
    """One x ~ p(x|z) with z from the prior for each key, and for the context of its example."""

    def draw(inputs: tuple[jax.Array, Examples]) -> jax.Array:
        key, context = inputs
        return generate(vae, params, key, 1, mean=False, **context)[0]

    return map_chunks(draw, (keys, context), AT_ONCE)


def _samples(
    vae: VAE,
    params: VAEParams,
    key: jax.Array,
    data: Examples,
    train: Examples | None,
    features: Callable[[Any], Any] | None,
    missing: dict[str, str],
) -> SampleQuality | None:
    if features is None or train is None:
        lacking = [name for name, value in (("features", features), ("train", train)) if value is None]
        missing["samples"] = f"Takes {' and '.join(f'`{name}=`' for name in lacking)}."
        return None
    key_draw, key_score = jax.random.split(key)
    generated = _draw_examples(vae, params, jax.random.split(key_draw, num_rows(data)), context_of(data))
    images = {"train": train["x"], "test": data["x"], "generated": generated}
    return _attempt(missing, "samples", lambda: sample_quality(features, key_score, **images))
