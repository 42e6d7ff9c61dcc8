"""What is measured of one trained model on the test set: likelihood, prior holes, and samples."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import vaepriors_jax as vp
from experiments.data import Dataset, cache_folder
from vaepriors_jax.evaluation.features import (
    FeatureNetwork,
    load_feature_network,
    save_feature_network,
    train_feature_network,
)
from vaepriors_jax.evaluation.quality import sample_quality

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


class LogMarginals(NamedTuple):
    """Of each test image [N]: log p(x), the Pareto k of its weights, and log p(x|y) for a conditional model."""

    values: np.ndarray
    pareto_k: np.ndarray
    given_label: np.ndarray | None


def log_marginals(model: Model, data: Dataset, num_samples: int, bar: tqdm) -> LogMarginals:
    """Importance-weighted log-likelihoods of the test images, in slices that move the bar."""
    x = data.test["x"]
    parts, given = [], []
    # Twenty slices of a large test set; a small one whole, since each size of slice is compiled.
    slice_size = len(x) // 20 if len(x) >= 2000 else len(x)
    for start in range(0, len(x), slice_size):
        rows = slice(start, start + slice_size)
        arguments = (model.vae, model.params, jax.random.fold_in(KEYS["log_marginal"], start), x[rows])
        if model.conditional:
            probabilities = class_probabilities(data)
            parts.append(
                vp.log_marginal_over_classes(*arguments, class_probabilities=probabilities, num_samples=num_samples)
            )
            given.append(vp.log_marginal(*arguments, y=data.test["y"][rows], num_samples=num_samples).values)
        else:
            parts.append(vp.log_marginal(*arguments, num_samples=num_samples))
        bar.update(len(x[rows]))
    values, pareto_k = (
        np.concatenate([np.asarray(getattr(part, name)) for part in parts]) for name in ("values", "pareto_k")
    )
    return LogMarginals(values, pareto_k, np.concatenate(given) if given else None)


def likelihood(model: Model, data: Dataset, num_samples: int, bar: tqdm) -> dict[str, Any]:
    """log p(x), the ELBO and its terms, and active units; in nats."""
    marginals = log_marginals(model, data, num_samples, bar)
    x, context = data.test["x"], model.context(data.test)
    terms = vp.evaluate_elbo(model.vae, model.params, KEYS["elbo"], x, **context)
    active = vp.active_units(model.vae, model.params, x, **context)
    found = {"elbo": terms.elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}
    found = {name: float(np.mean(value)) for name, value in found.items()}
    found |= _mean_with_error("log_marginal", marginals.values)
    if marginals.given_label is not None:
        found |= _mean_with_error("log_marginal_given_label", marginals.given_label)
    return found | {"pareto_k_above_0.7": float(np.mean(marginals.pareto_k > 0.7)), "active_units": int(active.sum())}


def _mean_with_error(name: str, values: np.ndarray) -> dict[str, float]:
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return {name: float(np.mean(values)), f"{name}_standard_error": float(error)}


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


def feature_network(data: Dataset) -> FeatureNetwork | None:
    """The classifier of this data set whose features score samples; kept in the cache. None without labels."""
    if data.num_classes is None:
        return None
    path = cache_folder() / f"features-{data.name}-{data.binarization}-{len(data.fixed_train['x'])}.npz"
    try:
        return load_feature_network(path)
    except (OSError, ValueError):
        pass  # none yet, or damaged: made again
    network = train_feature_network(
        jax.random.key(7),
        data.fixed_train["x"],
        data.fixed_train["y"],
        num_classes=data.num_classes,
        validation=(data.test["x"], data.test["y"]),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_feature_network(path, network)
    except OSError:
        pass  # a cache that cannot be written only costs time
    return network


@partial(jax.jit, static_argnums=0)
def _draw(vae: vp.VAE, params: vp.VAEParams, keys: jax.Array, context: Any) -> jax.Array:
    one = lambda key, context: vp.generate(vae, params, key, 1, mean=False, **context)[0]  # noqa: E731
    return jax.vmap(one)(keys, context)


@partial(jax.jit, static_argnums=0)
def _reconstruct(vae: vp.VAE, params: vp.VAEParams, keys: jax.Array, x: jax.Array, context: Any) -> jax.Array:
    def one(key: jax.Array, x: jax.Array, context: Any) -> jax.Array:
        key_z, key_x = jax.random.split(key)
        z = vae.posterior(params, x, **context).sample(seed=key_z)
        return vae.likelihood(params, z, **context).sample(seed=key_x)

    return jax.vmap(one)(keys, x, context)


def samples(model: Model, data: Dataset, network: FeatureNetwork) -> dict[str, dict[str, float]]:
    """Scores of samples x ~ p(x|z), as many as test images, and of what to read them against.

    A conditional model draws the labels of the test images.
    """
    key_draw, key_reconstruct, key_score = jax.random.split(KEYS["samples"], 3)
    num, context = len(data.test["x"]), model.context(data.test)
    generated = _draw(model.vae, model.params, jax.random.split(key_draw, num), context)
    keys = jax.random.split(key_reconstruct, num)
    rebuilt = _reconstruct(model.vae, model.params, keys, jnp.asarray(data.test["x"]), context)
    return sample_quality(
        key_score,
        network.features,
        train=data.fixed_train["x"],
        test=data.test["x"],
        generated=generated,
        reconstructions=rebuilt,
        num_resamples=10,
    )
