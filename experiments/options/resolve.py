"""From options to settings: the preset and the data set fill what was left open, and wrong values are refused."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments.data.dataset import Dataset
from experiments.models.families import ALL, NEED_LABELS, PRIORS, all_names
from experiments.models.likelihoods import check_likelihood, choose_likelihood
from experiments.models.posteriors import PAIRED, posterior_of
from experiments.models.vaes import make_networks, make_prior, num_entries, prior_reads_label, starts_from_data
from experiments.options.checks import check_options
from experiments.options.config import Config
from experiments.options.ode_priors import check_ode_priors
from experiments.options.settings import Settings, fill
from vaepriors_jax.factories import shapes_of_init

MAX_ENCODED = 5000  # training images up to which q(z) is evaluated where each density runs a network
MOST_PARAMETERS = 2**28  # of all replicas: 1 GiB, and several times that with the optimiser's state


def resolve(config: Config, data: Dataset, *, conditional: bool = True, gaussian: bool = False) -> Settings:
    """Fills the options that were left open from the preset and the data set, and checks all of them.

    Args:
        config: the options as they were typed.
        data: the data set.
        conditional: whether the program takes priors that read the label.
        gaussian: whether the program takes encoders with Gaussian posteriors alone.

    Raises:
        ValueError: a value out of range or named twice, a conditional prior on data without labels (of a class), a
            prior whose encoder has no place there, or data that do not vary.
    """
    check_options(config)
    if config.learning_rates and config.learning_rate is not None:
        raise ValueError(
            f"Expected --learning-rate or --learning-rates; got both, {config.learning_rate} and "
            f"{config.learning_rates}. Add the one to the others, or leave it out."
        )
    settings = _fit_warmup(config, fill(_fit_images(config, data)))
    _check_schedule(settings, data)
    _check_images(data)
    check_likelihood(settings.likelihood, data)
    if settings.num_test is not None and not 2 <= settings.num_test <= len(data.test["x"]):
        raise ValueError(f"Expected --num-test from 2 to {len(data.test['x'])}; got {settings.num_test}.")
    check_ode_priors(settings)
    settings = _fit_posteriors(_fit_priors(config, settings, data, conditional), config, gaussian)
    if settings.refit and "standard" not in settings.priors:
        raise ValueError("Expected the prior 'standard' among --priors, since --refit refits its VAE; add it.")
    _check_priors(settings, data, conditional)
    return _fit_metrics(settings, data)


def _fit_images(config: Config, data: Dataset) -> Config:
    """Chooses what becomes of colours, and the likelihood of images that are not binary, where these were left open."""
    is_colour = len(data.image_shape) == 3
    chosen = replace(
        config,
        binarization=config.binarization or ("none" if is_colour else "dynamic"),
        likelihood=config.likelihood or choose_likelihood(data),
    )
    if config.likelihood is None and chosen.likelihood != "bernoulli":
        print(f"The likelihood of {data.name} is {chosen.likelihood}; --likelihood chooses another.")
    return chosen


def _fit_warmup(config: Config, settings: Settings) -> Settings:
    """Shortens the preset's warm-up of the KL for a run of few epochs."""
    if config.warmup_epochs is not None or settings.epochs >= 2 * settings.warmup_epochs:
        return settings
    settings = replace(settings, warmup_epochs=settings.epochs // 4)
    print(
        f"{settings.epochs} epochs are few for the preset's warm-up of the KL, which is shortened to "
        f"{settings.warmup_epochs}; --warmup-epochs sets it."
    )
    return settings


def _check_schedule(settings: Settings, data: Dataset) -> None:
    """Raises ValueError if the warm-up would not end, or the images do not fill one batch."""
    if settings.warmup_epochs > settings.epochs:
        raise ValueError(
            f"Expected --warmup-epochs <= --epochs; got {settings.warmup_epochs} of {settings.epochs}: the weight of "
            "the KL would never be that of --betas."
        )
    if settings.batch_size > len(data.train["x"]):
        raise ValueError(
            f"Expected at least one batch of {settings.batch_size} examples; got {len(data.train['x'])}. Lower "
            "--batch-size."
        )


def _check_images(data: Dataset) -> None:
    """Raises ValueError if all training images are the same: there is nothing to learn."""
    x = data.train["x"]
    if all((part == x[0]).all() for part in np.array_split(x, max(1, len(x) // 1000))):
        raise ValueError(f"Expected training images that differ; those of {data.name} are all the same.")


def _fit_priors(config: Config, settings: Settings, data: Dataset, conditional: bool) -> Settings:
    """Names all families where all are asked for, and leaves those out that the data do not allow.

    Raises:
        ValueError: a prior that was asked for by name needs labels, or images of each class.
    """
    if ALL in settings.priors:
        if len(settings.priors) > 1:
            raise ValueError(f"Expected --priors {ALL} alone, or names of priors; got {' '.join(settings.priors)}.")
        every = (name for name in all_names(settings.sizes, data) if conditional or name not in NEED_LABELS)
        settings = replace(settings, priors=tuple(every))
    asked = [name for name in settings.priors if name in NEED_LABELS]
    empty = ", ".join(map(str, _empty_classes(data)))
    if not asked or (data.num_classes is not None and not empty):
        return settings
    names, others = ", ".join(map(repr, asked)), tuple(name for name in settings.priors if name not in asked)
    if config.priors in (None, (ALL,)):
        lacks = f"no training images of class {empty}" if empty else "no labels"
        print(f"{data.name} has {lacks}: the prior {names} is left out.")
        return replace(settings, priors=others)
    if empty:
        raise ValueError(
            f"Expected training images of each class for the prior {names}; {data.name} has none of class "
            f"{empty}. Add images, or leave those of that class out."
        )
    raise ValueError(
        f"Expected labels for the prior {names}; {data.name} has none. Choose among "
        f"{', '.join(name for name in PRIORS if name not in NEED_LABELS)}, or use --dataset mnist."
    )


def _fit_posteriors(settings: Settings, config: Config, gaussian: bool) -> Settings:
    """Leaves out of all families those whose encoder is no Gaussian, where that has no place.

    Raises:
        ValueError: one of them was asked for by name, or for a refit of the VAE with N(0, I).
    """
    if refits := [name for name in settings.refit if name in PAIRED and name != "hyperbolic"]:
        raise ValueError(
            f"Expected priors over R^n as --refit, as the encodings of the VAE with N(0, I) are; got "
            f"{', '.join(refits)}. Name {'it' if len(refits) == 1 else 'them'} in --priors."
        )
    paired = [name for name in settings.priors if name in PAIRED]
    if not paired or (settings.levels == 1 and not gaussian):
        return settings
    where = "in this program" if gaussian else "with --levels 2"
    if config.priors == (ALL,):
        print(f"Encoders have Gaussian posteriors {where}: left out are {', '.join(paired)}.")
        return replace(settings, priors=tuple(name for name in settings.priors if name not in paired))
    raise ValueError(
        f"Expected priors that go with a Gaussian posterior {where}; got {', '.join(paired)}. Leave "
        f"{'it' if len(paired) == 1 else 'them'} out, or use {'compare_priors' if gaussian else 'one level'}."
    )


def _check_priors(settings: Settings, data: Dataset, conditional: bool) -> None:
    """Raises ValueError for a prior that cannot be made, started or trained, before any of them is trained."""
    num_images = len(data.train["x"])
    for option, names in (("priors", settings.priors), ("refit", settings.refit)):
        for name in names:
            prior = make_prior(name, settings.sizes, data)
            if prior_reads_label(prior) and not (conditional and option == "priors"):
                raise ValueError(f"Expected priors that read no label as --{option} here; got {name}.")
            starts = option == "refit" or starts_from_data(prior, settings.sizes)
            if starts and name in (*PRIORS, "vamp_data", "vamp_kmeans") and settings.num_components > num_images:
                raise ValueError(
                    f"Expected --num-components <= {num_images}, the number of training images, to start {name} at "
                    f"data; got {settings.num_components}."
                )
            _check_size(name, prior, settings, data)


def _check_size(name: str, prior: vp.Prior, settings: Settings, data: Dataset) -> None:
    """Raises ValueError for a model with more parameters than these programs are made for."""
    encoder, decoder = make_networks(settings.sizes, data, None, posterior_of(name))
    key, image, z = jax.random.key(0), jnp.zeros(data.image_shape), jnp.zeros(num_entries(name, settings.sizes))
    made = (jax.eval_shape(encoder.init, key, image), jax.eval_shape(decoder.init, key, z), shapes_of_init(prior))
    size = sum(leaf.size for leaf in jax.tree.leaves(made))
    replicas = settings.seeds * len(settings.all_learning_rates) * len(settings.betas)
    if size * replicas > MOST_PARAMETERS:
        raise ValueError(
            f"Expected at most {MOST_PARAMETERS:,} parameters in all models that are trained at once; the prior {name} "
            f"and its networks have {size:,}, {replicas} times. Lower sizes such as --hidden and --num-components, or "
            "--seeds."
        )


def _empty_classes(data: Dataset) -> list[int]:
    """The classes without training images."""
    if data.num_classes is None:
        return []
    return np.flatnonzero(np.bincount(data.train["y"], minlength=data.num_classes) == 0).tolist()


def _fit_metrics(settings: Settings, data: Dataset) -> Settings:
    """Leaves holes and samples out where two levels of latents would make them too slow."""
    num_images = len(data.train["x"])
    if settings.levels == 1 or settings.metrics == "likelihood" or num_images <= MAX_ENCODED:
        return settings
    print(
        f"Holes and samples are left out (--metrics likelihood): with two levels q(z) of {num_images:,} "
        f"images runs a network for each pair of a point and an image; up to {MAX_ENCODED:,} it is measured."
    )
    return replace(settings, metrics="likelihood")
