"""From options to settings: the preset and the data set fill what was left open, and wrong values are refused."""

from dataclasses import replace

import numpy as np

from experiments.data.dataset import Dataset
from experiments.models.likelihoods import check_likelihood
from experiments.models.vaes import PRIORS, make_prior, prior_reads_label
from experiments.options.checks import check_options, check_rate, flag
from experiments.options.config import Config
from experiments.options.settings import Settings, fill

MAX_ENCODED = 5000  # training images up to which q(z) is evaluated where each density runs a network
AT_LEAST_ONE = ("seeds", "epochs", "batch_size", "latent_dim", "num_components", "num_samples", "patience")
AT_LEAST_ONE += ("hidden", "channels", "likelihood_components", "annealing", "flow_layers", "flow_hidden")
RATES = ("learning_rate", "learning_rates", "prior_learning_rate_factor", "betas", "likelihood_scale")


def resolve(config: Config, data: Dataset, *, conditional: bool = True) -> Settings:
    """Fills the options that were left open from the preset and the data set, and checks all of them.

    Args:
        config: the options as they were typed.
        data: the data set.
        conditional: whether the program takes priors that read the label.

    Raises:
        ValueError: a value out of range or named twice, a conditional prior on data without labels (of a class), or
            data that do not vary.
    """
    check_options(config)
    if config.learning_rates and config.learning_rate is not None:
        raise ValueError(
            f"Expected --learning-rate or --learning-rates; got both, {config.learning_rate} and "
            f"{config.learning_rates}. Add the one to the others, or leave it out."
        )
    settings = fill(config)
    _check_counts(settings)
    settings = _fit_warmup(config, settings)
    _check_schedule(settings)
    for name in RATES:
        if (value := getattr(settings, name)) is not None:
            check_rate(name, value)
    _check_images(data)
    check_likelihood(settings.likelihood, data)
    if settings.num_test is not None and not 2 <= settings.num_test <= len(data.test["x"]):
        raise ValueError(f"Expected --num-test from 2 to {len(data.test['x'])}; got {settings.num_test}.")
    settings = _fit_priors(config, settings, data)
    if settings.refit and "standard" not in settings.priors:
        raise ValueError("Expected the prior 'standard' among --priors, since --refit refits its VAE; add it.")
    _check_priors(settings, data, conditional)
    return _fit_metrics(settings, data)


def _check_counts(settings: Settings) -> None:
    """Raises ValueError if a number that counts something, or one of several, is below one."""
    for name in AT_LEAST_ONE:
        value = getattr(settings, name)
        if np.size(value) == 0 or np.min(value) < 1:
            shown = tuple(value) if isinstance(value, tuple) else value
            raise ValueError(f"Expected {flag(name)} >= 1; got {shown}.")


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


def _check_schedule(settings: Settings) -> None:
    """Raises ValueError if epochs of warm-up or cooldown are negative, or the warm-up would not end."""
    for name in ("warmup_epochs", "cooldown_epochs"):
        if (value := getattr(settings, name)) < 0:
            raise ValueError(f"Expected {flag(name)} >= 0; got {value}.")
    if settings.warmup_epochs > settings.epochs:
        raise ValueError(
            f"Expected --warmup-epochs <= --epochs; got {settings.warmup_epochs} of {settings.epochs}: the weight of "
            "the KL would never be that of --betas."
        )


def _check_images(data: Dataset) -> None:
    """Raises ValueError if all training images are the same: there is nothing to learn."""
    x = data.train["x"]
    if all((part == x[0]).all() for part in np.array_split(x, max(1, len(x) // 1000))):
        raise ValueError(f"Expected training images that differ; those of {data.name} are all the same.")


def _fit_priors(config: Config, settings: Settings, data: Dataset) -> Settings:
    """Leaves the conditional prior out where the data lack labels or a class, unless it was asked for: then raises."""
    if "conditional" not in settings.priors:
        return settings
    empty = ", ".join(map(str, _empty_classes(data)))
    if data.num_classes is not None and not empty:
        return settings
    others = tuple(name for name in settings.priors if name != "conditional")
    if config.priors is None:
        lacks = f"no training images of class {empty}" if empty else "no labels"
        print(f"{data.name} has {lacks}: the prior 'conditional' is left out.")
        return replace(settings, priors=others)
    if empty:
        raise ValueError(
            f"Expected training images of each class for the prior 'conditional'; {data.name} has none of class "
            f"{empty}. Add images, or leave those of that class out."
        )
    raise ValueError(
        f"Expected labels for the prior 'conditional'; {data.name} has none. Choose among "
        f"{', '.join(name for name in PRIORS if name != 'conditional')}, or use --dataset mnist."
    )


def _check_priors(settings: Settings, data: Dataset, conditional: bool) -> None:
    """Raises ValueError for a prior that cannot be made, or that reads the label where none is given to it."""
    for option, names in (("priors", settings.priors), ("refit", settings.refit)):
        for name in names:
            needs_label = prior_reads_label(make_prior(name, settings.sizes, data))
            if needs_label and not (conditional and option == "priors"):
                raise ValueError(f"Expected priors that read no label as --{option} here; got {name}.")


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
