"""What is measured of one trained model on the test set: likelihood, prior holes, and samples."""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

import vaepriors_jax as vp
from experiments.data import Dataset

# One key for each kind of measurement, the same for all models: differences are not those of the noise.
KEYS = {name: jax.random.key(i + 2) for i, name in enumerate(("log_marginal", "elbo", "holes", "samples"))}


class Model(NamedTuple):
    """A trained VAE: one prior and one seed."""

    prior: str
    seed: int
    vae: vp.VAE
    params: vp.VAEParams

    @property
    def conditional(self) -> bool:
        """Whether networks and prior read the label."""
        return bool(self.vae.encoder_context)

    def context(self, split: dict[str, np.ndarray]) -> Any:
        """The per-example context of a split that the model reads."""
        return {"y": split["y"]} if self.conditional else {}


def class_probabilities(data: Dataset) -> tuple[float, ...]:
    """Shares of the classes in the training set."""
    counts = np.bincount(data.train["y"], minlength=data.num_classes or 0)
    return tuple((counts / counts.sum()).tolist())


def log_marginals(model: Model, data: Dataset, num_samples: int, bar: tqdm) -> tuple[np.ndarray, np.ndarray | None]:
    """log p(x) of each test image, in slices that move the bar; for a conditional model log p(x|y) too."""
    x = data.test["x"]
    marginal, given = [], []
    # Twenty slices of a large test set; a small one whole, since each size of slice is compiled.
    slice_size = len(x) // 20 if len(x) >= 2000 else len(x)
    for start in range(0, len(x), slice_size):
        rows = slice(start, start + slice_size)
        arguments = (model.vae, model.params, jax.random.fold_in(KEYS["log_marginal"], start), x[rows])
        if model.conditional:
            probabilities = class_probabilities(data)
            summed = vp.log_marginal_over_classes(
                *arguments, class_probabilities=probabilities, num_samples=num_samples
            )
            marginal.append(summed.values)
            given.append(vp.log_marginal(*arguments, y=data.test["y"][rows], num_samples=num_samples).values)
        else:
            marginal.append(vp.log_marginal(*arguments, num_samples=num_samples).values)
        bar.update(len(x[rows]))
    return np.concatenate(marginal), np.concatenate(given) if given else None


def likelihood(model: Model, data: Dataset, num_samples: int, bar: tqdm) -> dict[str, Any]:
    """log p(x), the ELBO and its terms, and active units; in nats."""
    values, given = log_marginals(model, data, num_samples, bar)
    arguments = (data.test["x"],)
    terms = vp.evaluate_elbo(model.vae, model.params, KEYS["elbo"], *arguments, **model.context(data.test))
    active = vp.active_units(model.vae, model.params, *arguments, **model.context(data.test))
    metrics = {"log_marginal": values, "elbo": terms.elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}
    found = {name: float(np.mean(value)) for name, value in metrics.items()}
    found["log_marginal_standard_error"] = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    found["active_units"] = int(active.sum())
    if given is not None:
        found["log_marginal_given_label"] = float(np.mean(given))
        found["log_marginal_given_label_standard_error"] = float(np.std(given, ddof=1) / np.sqrt(len(given)))
    return found


@partial(jax.jit, static_argnums=0)
def _hole_mass(vae: vp.VAE, params: vp.VAEParams, key: jax.Array, arrays: Any) -> Any:
    aggregated = vp.DiagonalMixture(*arrays)
    mass = vp.hole_mass(vae.latent_prior(params), aggregated, key, num_samples=5000)
    return mass.prior_in_holes, mass.posterior_uncovered


def holes(model: Model, data: Dataset) -> dict[str, Any]:
    """The mismatch between prior and aggregated posterior of the whole training set.

    A conditional prior counts as the mixture over classes, since q(z) has no label.
    """
    vae = model.vae
    if model.conditional:
        vae = vae._replace(prior=vp.marginalize(vae.prior, class_probabilities(data)))
    arguments = (model.params, KEYS["holes"], data.fixed_train["x"])
    context = model.context(data.fixed_train)
    surgery = vp.elbo_surgery(vae, *arguments, **context)
    aggregated = vp.aggregated_posterior(vae, model.params, data.fixed_train["x"], **context)
    arrays = (aggregated.log_weights, *aggregated.parameters)
    in_holes, uncovered = _hole_mass(vae, model.params, KEYS["holes"], arrays)
    estimates = {
        "marginal_kl": surgery.marginal_kl,
        "mutual_information": surgery.mutual_information,
        "hole_mass": in_holes,
        "uncovered_mass": uncovered,
    }
    found = {name: float(value.mean) for name, value in estimates.items()}
    return found | {f"{name}_standard_error": float(value.standard_error) for name, value in estimates.items()}
