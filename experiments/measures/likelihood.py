"""The likelihood of the test images: log p(x) by importance weighting and by annealing, and the ELBO."""

import math
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

import vaepriors_jax as vp
from experiments.data.dataset import Dataset
from experiments.measures.kept import kept_arrays
from experiments.measures.keys import KEYS
from experiments.measures.settings import Annealing, EvaluationSettings
from experiments.models.likelihoods import is_discrete
from experiments.models.trained import Model, is_euclidean
from experiments.models.vaes import prior_solves_ode
from experiments.runs.files import MEASURED, file_name
from experiments.training.cost import decoded_at_once
from vaepriors_jax.evaluation.likelihood.annealing import annealed_importance_sampling
from vaepriors_jax.training.progress import is_live

NUM_ANNEALED = 100  # test images on which annealed importance sampling checks the importance weighting
# Where each density solves an ODE, log p(x) takes a thousand times as long: at most so many images and samples of each.
NUM_SOLVED, NUM_SOLVED_SAMPLES = 100, 500


class LogMarginals(NamedTuple):
    """For each test image [N]: log p(x), the Pareto k of its weights, and log p(x|y) of a conditional model.

    For a prior with an estimated normaliser also its error and its bias; see `vp.LogMarginal`. NaN stands at images
    whose log p(x) was not estimated.
    """

    values: np.ndarray
    pareto_k: np.ndarray
    given_label: np.ndarray | None = None
    normalizer_error: np.ndarray | None = None
    normalizer_bias: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> "LogMarginals":
        """Those of some images."""
        return LogMarginals(**{name: values[rows] for name, values in self._asdict().items() if values is not None})


def log_marginals(model: Model, data: Dataset, num_samples: int, folder: Path | None = None) -> LogMarginals:
    """Importance-weighted log-likelihoods of the test images, with a progress bar.

    A folder keeps those of each slice of the test set, and they are not computed again. Where each density of the prior
    solves an ODE, `estimated_rows` of the test set are estimated, from at most NUM_SOLVED_SAMPLES samples.
    """
    num_images, chunk_size = len(data.test["x"]), decoded_at_once(model.vae, model.params, data)
    options: dict[str, Any] = {"num_samples": _most_samples(model, num_samples), "chunk_size": chunk_size}
    if prior_solves_ode(model.vae.prior):
        file = folder and folder / "log_marginal-0.npz"
        return LogMarginals(**kept_arrays(file, partial(_of_some, model, data, options)))
    # Twenty slices of a large test set; a small one whole, since each size of slice is compiled.
    slice_size = num_images // 20 if num_images >= 2000 else num_images
    description, parts = f"{model.prior}, seed {model.seed}: log p(x)", []
    hidden = slice_size == num_images or not is_live()  # a bar of one step says nothing
    with tqdm(total=num_images, unit="image", desc=description, leave=False, disable=hidden) as bar:
        for start in range(0, num_images, slice_size):
            rows = slice(start, start + slice_size)
            file = folder and folder / f"log_marginal-{start}.npz"
            parts.append(kept_arrays(file, partial(_of_rows, model, data, rows, start, options)))
            bar.update(len(parts[-1]["values"]))
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return LogMarginals(**joined)


def evenly(num_images: int, most: int) -> np.ndarray:
    """The places of at most so many images, evenly chosen [min(num_images, most)]."""
    return np.linspace(0, num_images - 1, min(most, num_images)).round().astype(int)


def estimated_rows(model: Model, data: Dataset) -> np.ndarray:
    """The places of the test images whose log p(x) is estimated: all, or fewer where each density solves an ODE."""
    num_images = len(data.test["x"])
    return evenly(num_images, NUM_SOLVED if prior_solves_ode(model.vae.prior) else num_images)


def _most_samples(model: Model, num_samples: int) -> int:
    return min(num_samples, NUM_SOLVED_SAMPLES) if prior_solves_ode(model.vae.prior) else num_samples


def log_marginals_folder(output_dir: Path, prior: str, seed: int) -> Path:
    """Where the folder of a run keeps log p(x) of each test image."""
    return output_dir / MEASURED / f"{file_name(prior)}-seed{seed}"


def kept_log_marginals(output_dir: Path, prior: str, seed: int) -> np.ndarray | None:
    """log p(x) of each test image, in their order, NaN where it was not estimated; None if a run did not keep them."""
    files = log_marginals_folder(output_dir, prior, seed).glob("log_marginal-*.npz")
    parts = []
    for file in sorted(files, key=lambda file: int(file.stem.rpartition("-")[2])):
        with np.load(file, allow_pickle=False) as stored:
            parts.append(stored["values"])
    return np.concatenate(parts) if parts else None


def _of_some(model: Model, data: Dataset, options: dict[str, Any]) -> dict[str, np.ndarray]:
    """log p(x) of the test images that are estimated, and NaN of the others."""
    rows = estimated_rows(model, data)

    def spread(values: np.ndarray) -> np.ndarray:
        every = np.full((len(data.test["x"]), *values.shape[1:]), np.nan, values.dtype)
        every[rows] = values
        return every

    return {name: spread(values) for name, values in _of_rows(model, data, rows, 0, options).items()}


def _of_rows(
    model: Model, data: Dataset, rows: slice | np.ndarray, start: int, options: dict[str, Any]
) -> dict[str, np.ndarray]:
    """log p(x) of some test images, by the name of a field of `LogMarginals`; `start` chooses the key."""
    x = data.test["x"][rows]
    arguments = (model.vae, model.params, jax.random.fold_in(KEYS["log_marginal"], start), x)
    if not model.conditional:
        part = vp.log_marginal(*arguments, **options)
        return _arrays(part)
    part = vp.log_marginal_over_classes(*arguments, **options, class_probabilities=data.class_probabilities)
    given_label = vp.log_marginal(*arguments, **options, y=data.test["y"][rows]).values
    return _arrays(part) | {"given_label": np.asarray(given_label)}


def _arrays(part: Any) -> dict[str, np.ndarray]:
    """What is kept of a `LogMarginal`."""
    names = ("values", "pareto_k", "normalizer_error", "normalizer_bias")
    return {name: np.asarray(getattr(part, name)) for name in names if getattr(part, name) is not None}


def annealed(model: Model, data: Dataset, weighted: np.ndarray, settings: Annealing) -> dict[str, float]:
    """Annealed importance sampling beside the importance weighting [N] of the same test images, evenly chosen."""
    rows = evenly(len(weighted), NUM_ANNEALED)
    chosen = {name: array[rows] for name, array in data.test.items()}
    arguments = (model.vae, model.params, KEYS["annealing"], chosen["x"])
    options = settings._asdict() | {"chunk_size": decoded_at_once(model.vae, model.params, data)}
    estimates = annealed_importance_sampling(*arguments, **options, **model.context(chosen))
    values = np.asarray(estimates.values)
    difference = mean_with_error("annealed_minus_weighted", values - weighted[rows])
    return mean_with_error("log_marginal_annealed", values) | difference | {"num_annealed": len(rows)}


def likelihood(model: Model, data: Dataset, settings: EvaluationSettings) -> dict[str, Any]:
    """log p(x) by importance weighting, and for one seed by annealing on some images; the ELBO; in nats.

    Where p(x|z) gives probabilities of grey levels, -log p(x) also in bits per dimension. A conditional model is
    annealed given the label, and compared with its log p(x|y). For a prior with an estimated normaliser there are the
    error and the bias that it brings into log p(x). Where each density solves an ODE, log p(x) is that of fewer images
    and samples, with their numbers, and nothing is annealed: chains would take hours. Neither is it over another space
    than R^n, where chains cannot move, and units have no scale to count the active ones by.
    """
    solves_ode, rows = prior_solves_ode(model.vae.prior), estimated_rows(model, data)
    marginals = log_marginals(model, data, settings.num_samples, settings.folder).at(rows)
    weighted = marginals.values if marginals.given_label is None else marginals.given_label
    values = elbo(model, data, settings)
    values |= mean_with_error("log_marginal", marginals.values)
    if solves_ode:
        values["log_marginal_num_images"] = len(rows)
        values["log_marginal_num_samples"] = _most_samples(model, settings.num_samples)
    if marginals.normalizer_error is not None and marginals.normalizer_bias is not None:
        values["log_marginal_normalizer_error"] = float(np.mean(marginals.normalizer_error))
        values["log_marginal_normalizer_bias"] = float(np.mean(marginals.normalizer_bias))
    if is_discrete(settings.likelihood):
        values |= mean_with_error("bits_per_dim", vp.bits_per_dim(marginals.values, math.prod(data.image_shape)))
    if marginals.given_label is not None:
        values |= mean_with_error("log_marginal_given_label", marginals.given_label)
    moves = is_euclidean(model)
    is_annealed = moves and model.seed == settings.annealed_seed and not solves_ode
    if settings.annealing is not None and is_annealed:
        values |= annealed(model, data, weighted, settings.annealing)
    if not np.isnan(marginals.pareto_k).all():  # few samples have none
        values["pareto_k_above_0.7"] = float(np.mean(marginals.pareto_k > 0.7))
    if moves:
        active = vp.active_units(model.vae, model.params, data.test["x"], **model.context(data.test))
        values["active_units"] = int(active.sum())
    return values


def elbo(model: Model, data: Dataset, settings: EvaluationSettings) -> dict[str, Any]:
    """The ELBO of the test images and its two terms, in nats."""
    del settings
    x, context = data.test["x"], model.context(data.test)
    chunk_size = min(500, decoded_at_once(model.vae, model.params, data))
    terms = vp.evaluate_elbo(model.vae, model.params, KEYS["elbo"], x, chunk_size=chunk_size, **context)
    return {name: float(np.mean(getattr(terms, name))) for name in ("elbo", "reconstruction", "kl")}


def mean_with_error(name: str, values: np.ndarray) -> dict[str, float]:
    """The mean over test images and its standard error, by name."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return {name: float(np.mean(values)), f"{name}_standard_error": float(error)}
