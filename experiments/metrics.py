"""What is measured of one trained model: likelihood, prior holes, latents, and samples."""

import hashlib
import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import vaepriors_jax as vp
from experiments.cost import decoded_at_once
from experiments.data import Dataset, cache_folder
from vaepriors_jax.base import innermost
from vaepriors_jax.evaluation.annealing import annealed_importance_sampling
from vaepriors_jax.evaluation.features import (
    Classifier,
    FeatureNetwork,
    load_feature_network,
    save_feature_network,
    train_feature_network,
)
from vaepriors_jax.evaluation.holes import HoleMap
from vaepriors_jax.evaluation.latents import latent_dimensions, mixture_usage, pseudo_input_distances
from vaepriors_jax.evaluation.quality import reference_quality, sample_quality

# One key for each kind of measurement, the same for all models: differences are not those of the noise.
KINDS = ("log_marginal", "elbo", "holes", "samples", "annealing", "latents")
KEYS = {name: jax.random.key(i + 2) for i, name in enumerate(KINDS)}
NUM_ANNEALED = 100  # test images on which annealed importance sampling checks the importance weighting
NUM_RESAMPLES = 10
AT_ONCE = 500  # images that are drawn at a time


def reads_label(vae: vp.VAE) -> bool:
    """Whether a VAE of these programs reads the label, in its networks or in its prior."""
    return bool(vae.encoder_context) or innermost(vae.prior.config)[0]["factory"].startswith("conditional")


class Model(NamedTuple):
    """A trained VAE: one prior and one seed."""

    prior: str
    seed: int
    vae: vp.VAE
    params: vp.VAEParams

    @property
    def conditional(self) -> bool:
        """Whether prior or networks read the label."""
        return reads_label(self.vae)

    def context(self, split: dict[str, np.ndarray]) -> Any:
        """The per-example context of a split that the model reads."""
        return {"y": split["y"]} if self.conditional else {}

    def example_prior(self, data: Dataset) -> Any:
        """The prior of the first training example."""
        return self.vae.latent_prior(
            self.params, **{name: array[0] for name, array in self.context(data.train).items()}
        )


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
    chunk_size = decoded_at_once(model.vae, model.params, data)
    options: dict[str, Any] = {"num_samples": num_samples, "chunk_size": chunk_size}
    # Twenty slices of a large test set; a small one whole, since each size of slice is compiled.
    slice_size = len(x) // 20 if len(x) >= 2000 else len(x)
    for start in range(0, len(x), slice_size):
        rows = slice(start, start + slice_size)
        arguments = (model.vae, model.params, jax.random.fold_in(KEYS["log_marginal"], start), x[rows])
        if model.conditional:
            probabilities = class_probabilities(data)
            parts.append(vp.log_marginal_over_classes(*arguments, **options, class_probabilities=probabilities))
            given.append(vp.log_marginal(*arguments, **options, y=data.test["y"][rows]).values)
        else:
            parts.append(vp.log_marginal(*arguments, **options))
        bar.update(len(x[rows]))
    values, pareto_k = (
        np.concatenate([np.asarray(getattr(part, name)) for part in parts]) for name in ("values", "pareto_k")
    )
    return LogMarginals(values, pareto_k, np.concatenate(given) if given else None)


class Annealing(NamedTuple):
    """How annealed importance sampling runs."""

    num_chains: int
    num_temperatures: int
    num_leapfrog_steps: int


def annealed(model: Model, data: Dataset, weighted: np.ndarray, settings: Annealing) -> dict[str, float]:
    """Annealed importance sampling beside the importance weighting [N] of the same test images, evenly chosen."""
    rows = np.linspace(0, len(weighted) - 1, min(NUM_ANNEALED, len(weighted))).round().astype(int)
    chosen = {name: array[rows] for name, array in data.test.items()}
    arguments = (model.vae, model.params, KEYS["annealing"], chosen["x"])
    options = settings._asdict() | {"chunk_size": decoded_at_once(model.vae, model.params, data)}
    found = annealed_importance_sampling(*arguments, **options, **model.context(chosen))
    values = np.asarray(found.values)
    difference = _mean_with_error("annealed_minus_weighted", values - weighted[rows])
    return _mean_with_error("log_marginal_annealed", values) | difference | {"num_annealed": len(rows)}


def likelihood(
    model: Model,
    data: Dataset,
    num_samples: int,
    bar: tqdm,
    annealing: Annealing | None = None,
    *,
    in_bits: bool = False,
) -> dict[str, Any]:
    """log p(x), by importance weighting and, where wanted, on some images by annealing; the ELBO; in nats.

    With `in_bits`, for probabilities of grey levels, -log p(x) also in bits per dimension. A conditional model is
    annealed given the label, and held against its log p(x|y).
    """
    marginals = log_marginals(model, data, num_samples, bar)
    weighted = marginals.values if marginals.given_label is None else marginals.given_label
    active = vp.active_units(model.vae, model.params, data.test["x"], **model.context(data.test))
    found = elbo(model, data)
    found |= _mean_with_error("log_marginal", marginals.values)
    if in_bits:
        found |= _mean_with_error("bits_per_dim", vp.bits_per_dim(marginals.values, math.prod(data.image_shape)))
    if marginals.given_label is not None:
        found |= _mean_with_error("log_marginal_given_label", marginals.given_label)
    if annealing is not None:
        found |= annealed(model, data, weighted, annealing)
    if not np.isnan(marginals.pareto_k).all():  # a few samples have none
        found["pareto_k_above_0.7"] = float(np.mean(marginals.pareto_k > 0.7))
    return found | {"active_units": int(active.sum())}


def elbo(model: Model, data: Dataset) -> dict[str, Any]:
    """The ELBO of the test images and its two terms, in nats."""
    x, context = data.test["x"], model.context(data.test)
    chunk_size = min(500, decoded_at_once(model.vae, model.params, data))
    terms = vp.evaluate_elbo(model.vae, model.params, KEYS["elbo"], x, chunk_size=chunk_size, **context)
    return {name: float(np.mean(getattr(terms, name))) for name in ("elbo", "reconstruction", "kl")}


def _mean_with_error(name: str, values: np.ndarray) -> dict[str, float]:
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return {name: float(np.mean(values)), f"{name}_standard_error": float(error)}


def _without_label(model: Model, data: Dataset) -> vp.VAE:
    """The VAE; a conditional prior counts as the mixture over classes, since q(z) has no label."""
    if not model.conditional:
        return model.vae
    return model.vae._replace(prior=vp.marginalize(model.vae.prior, class_probabilities(data)))


@partial(jax.jit, static_argnums=0)
def _hole_mass(vae: vp.VAE, params: vp.VAEParams, key: jax.Array, x: jax.Array, context: Any) -> Any:
    aggregated = vp.aggregated_posterior(vae, params, x, **context)
    mass = vp.hole_mass(vae.latent_prior(params), aggregated, key, num_samples=5000)
    return mass.prior_in_holes, mass.posterior_uncovered


@partial(jax.jit, static_argnums=(0, 4))
def _hole_map(vae: vp.VAE, params: vp.VAEParams, x: jax.Array, context: Any, half_width: float | None) -> HoleMap:
    aggregated = vp.aggregated_posterior(vae, params, x, **context)
    return vp.hole_map(vae.latent_prior(params), aggregated, half_width=half_width)


def hole_map(model: Model, data: Dataset, half_width: float | None = None) -> HoleMap:
    """log q(z), log p(z) and their difference on the plane of the encodings' first two principal components."""
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    return _hole_map(_without_label(model, data), model.params, x, context, half_width)


def holes(model: Model, data: Dataset) -> dict[str, Any]:
    """The mismatch between prior and aggregated posterior of the whole training set."""
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    vae = _without_label(model, data)
    surgery = vp.elbo_surgery(vae, model.params, KEYS["holes"], x, **context)
    in_holes, uncovered = _hole_mass(vae, model.params, KEYS["holes"], x, context)
    estimates = {
        "marginal_kl": surgery.marginal_kl,
        "mutual_information": surgery.mutual_information,
        "hole_mass": in_holes,
        "uncovered_mass": uncovered,
    }
    found = {name: float(value.mean) for name, value in estimates.items()}
    return found | {f"{name}_standard_error": float(value.standard_error) for name, value in estimates.items()}


def gaussian_part(model: Model, data: Dataset) -> float:
    """What of KL(q(z) || N(0, I)) is due to mean and covariance of q(z): KL(N(m, S) || N(0, I)), in nats.

    The rest is shape, KL(q(z) || N(m, S)): clusters, bends, tails.
    """
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    loc, scale = vp.aggregated_posterior(model.vae, model.params, x, **context).parameters
    mean = jnp.mean(loc, axis=0)
    covariance = jnp.cov(loc, rowvar=False, bias=True).reshape(len(mean), -1) + jnp.diag(jnp.mean(scale**2, axis=0))
    log_determinant = jnp.linalg.slogdet(covariance)[1]
    return float(0.5 * (jnp.sum(mean**2) + jnp.trace(covariance) - len(mean) - log_determinant))


def latents(model: Model, data: Dataset) -> dict[str, Any]:
    """What each dimension carries and, for a mixture, how many components are used; over the training set."""
    x, context = data.fixed_train["x"], model.context(data.fixed_train)
    arguments = (model.vae, model.params, KEYS["latents"], x)
    dimensions = latent_dimensions(*arguments, **context)
    found: dict[str, Any] = {
        "collapsed": int(dimensions.collapsed.sum()),
        "mutual_information_by_dimension": np.asarray(dimensions.mutual_information).tolist(),
        "kl_by_dimension": np.asarray(dimensions.kl).tolist(),
    }
    prior = model.example_prior(data)
    if isinstance(getattr(prior, "top", prior), vp.Mixture):  # the upper one of two levels
        usage = mixture_usage(*arguments, **context)
        for name in ("weight_perplexity", "responsibility_perplexity", "num_unused"):
            found[name] = float(getattr(usage, name))
    if innermost(model.vae.prior.config)[0]["factory"] == "vamp":
        distances = pseudo_input_distances(model.vae.prior, model.params.prior, x)
        found["pseudo_input_distance"] = float(jnp.mean(distances))
    return found


class Judge(NamedTuple):
    """What scores the samples of one data set: the feature network, and the rows to read the scores against."""

    network: FeatureNetwork
    references: dict[str, dict[str, float]]


def make_judge(data: Dataset) -> Judge | None:
    """The judge of this data set; None without labels, from which features are learned, or with few test images."""
    network = feature_network(data)
    if network is None:
        return None
    train, test = data.fixed_train["x"], data.test["x"]
    least = 2 * (network.features(test[:1]).shape[1] + 1)
    if len(test) < least:
        print(f"Samples are not scored: that takes at least {least} test images; {data.name} has {len(test)}.")
        return None
    key = _sample_keys()[2]
    return Judge(network, reference_quality(key, network.features, train=train, test=test, num_resamples=NUM_RESAMPLES))


def describe(judge: Judge | None) -> dict[str, Any] | None:
    """What a report says of the features, so that scores of different ones are never compared."""
    return judge and {name: getattr(judge.network, name) for name in ("hash", "accuracy", "architecture")}


def _sample_keys() -> jax.Array:
    """Keys to draw, to reconstruct and to score, the same for all models."""
    return jax.random.split(KEYS["samples"], 3)


def feature_network(data: Dataset) -> FeatureNetwork | None:
    """The classifier of this data set whose features score samples; kept in the cache. None without labels."""
    if data.num_classes is None:
        return None
    x, y = data.fixed_train["x"], data.fixed_train["y"]
    digest = hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest()  # files of the user's may share name and size
    path = cache_folder() / f"features-{data.name}-{data.binarization}-{digest[:12]}.npz"
    try:
        return load_feature_network(path)
    except (OSError, ValueError):
        pass  # none yet, or damaged: made again
    network = train_feature_network(
        jax.random.key(7),
        x,
        y,
        num_classes=data.num_classes,
        validation=(data.test["x"], data.test["y"]),
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_feature_network(path, network)
    except OSError:
        pass  # a cache that cannot be written only costs time
    return network


def class_log_probabilities(network: FeatureNetwork, images: Any) -> jax.Array:
    """Log-probabilities [N, classes] that the feature network gives to images [N, height, width]."""
    classifier = Classifier(network.architecture, network.num_classes)
    logits = jax.lax.map(lambda image: classifier.apply(network.params, image)[1], jnp.asarray(images), batch_size=500)
    return jax.nn.log_softmax(logits)


@partial(jax.jit, static_argnums=(0, 4))
def _draw(vae: vp.VAE, params: vp.VAEParams, keys: jax.Array, context: Any, mean: bool) -> jax.Array:
    one = lambda key, context: vp.generate(vae, params, key, 1, mean=mean, **context)[0]  # noqa: E731
    return jax.lax.map(lambda inputs: one(*inputs), (keys, context), batch_size=AT_ONCE)


def generate(model: Model, data: Dataset, num: int, *, mean: bool = False) -> jax.Array:
    """Samples x ~ p(x|z), or their means, with the same decoder noise for every model; labels of the test images."""
    keys = jax.random.split(_sample_keys()[0], len(data.test["x"]))[:num]
    context = {name: array[:num] for name, array in model.context(data.test).items()}
    return _draw(model.vae, model.params, keys, context, mean)


@partial(jax.jit, static_argnums=0)
def _reconstruct(vae: vp.VAE, params: vp.VAEParams, keys: jax.Array, x: jax.Array, context: Any) -> jax.Array:
    def one(key: jax.Array, x: jax.Array, context: Any) -> jax.Array:
        key_z, key_x = jax.random.split(key)
        z = vae.posterior(params, x, **context).sample(seed=key_z)
        return vae.likelihood(params, z, **context).sample(seed=key_x)

    return jax.lax.map(lambda inputs: one(*inputs), (keys, x, context), batch_size=AT_ONCE)


def samples(model: Model, data: Dataset, judge: Judge) -> dict[str, dict[str, float]]:
    """Scores of samples x ~ p(x|z), as many as test images, and of what to read them against.

    A conditional model draws the labels of the test images.
    """
    _, key_reconstruct, key_score = _sample_keys()
    num, context = len(data.test["x"]), model.context(data.test)
    generated = generate(model, data, num)
    keys = jax.random.split(key_reconstruct, num)
    rebuilt = _reconstruct(model.vae, model.params, keys, jnp.asarray(data.test["x"]), context)
    return sample_quality(
        key_score,
        judge.network.features,
        train=data.fixed_train["x"],
        test=data.test["x"],
        generated=jnp.clip(generated, 0, 1),  # some likelihoods reach further than the data
        reconstructions=jnp.clip(rebuilt, 0, 1),
        references=judge.references,
        num_resamples=NUM_RESAMPLES,
    )
