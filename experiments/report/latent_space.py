"""Latent space as people look at it: a plane of the encodings, interpolations, and samples by component."""

# pyright: reportMissingImports=false

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from sklearn.decomposition import PCA

import vaepriors_jax as vp
from experiments.data.dataset import Dataset
from experiments.measures.holes import draw_prior, encode, without_label
from experiments.measures.paths import dense_path, straight_line
from experiments.models.posteriors import POSTERIORS, centre, posterior_of
from experiments.models.trained import Model
from experiments.report.figures import headline, tile
from experiments.report.parts import WIDTH
from experiments.report.recommendation import short_name
from vaepriors_jax.distributions.power_spherical import unit_vector
from vaepriors_jax.distributions.spaces import SPHERE, space_of
from vaepriors_jax.priors.vamp import has_pseudo_inputs
from vaepriors_jax.vae import without_prior

MOST_POINTS = 1000  # encodings in the plane, and as many samples of the prior
FRAMES = 10  # images of an interpolation
COMPONENTS, DRAWS = 8, 7
KEY = jax.random.key(8)


def check_projection(name: str) -> None:
    """Raises ValueError for UMAP where it is not installed."""
    if name == "umap" and find_spec("umap") is None:
        raise ValueError("Expected umap-learn for --projection umap; it is not installed. pip install umap-learn.")


def _projector(name: str, z: np.ndarray) -> Any:
    """What maps latents [N, dim] to a plane, fitted to encodings: `transform` does it."""
    if name == "pca":
        return PCA(2).fit(z)
    from umap import UMAP  # its import compiles for seconds

    return UMAP(random_state=0, n_jobs=1).fit(z)


def draw_planes(path: Path, models: list[Model], data: Dataset, projection: str) -> None:
    """Draws encodings of test images by class, and samples of each prior on the same plane."""
    per_row = min(2, len(models))
    num_rows = -(-len(models) // per_row)
    size = (WIDTH, 3.7 * num_rows + 0.8)
    figure, axes = plt.subplots(num_rows, per_row, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, model in zip(axes.flat, models, strict=False):
        z, y, drawn = _encodings_and_samples(model, data)
        projector = _projector(projection, z)
        points, samples = projector.transform(z), projector.transform(drawn)
        axis.scatter(*samples.T, s=9, marker="x", linewidths=0.5, color="0.65", label="samples of the prior")
        colours = {"c": y % 10, "cmap": "tab10", "vmin": 0, "vmax": 9} if y is not None else {"color": "black"}
        axis.scatter(*points.T, s=6, linewidths=0, alpha=0.8, **colours)
        axis.set_title(headline(short_name(model.prior), 2), fontsize=12)
        axis.set_aspect("equal", adjustable="datalim")
    handles = [Line2D([], [], marker="x", ls="", color="0.65", label="samples of the prior")]
    colour = plt.get_cmap("tab10")
    for label in range(min(data.num_classes or 0, 10)):
        handles.append(Line2D([], [], marker="o", ls="", color=colour(label), label=str(label)))
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=10)
    figure.savefig(path, dpi=180)
    plt.close(figure)


def _encodings_and_samples(model: Model, data: Dataset) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """One z of q(z|x) for each test image, their classes, and as many samples of the prior."""
    vae, y = without_label(model, data), data.test.get("y")
    z = encode(*without_prior(vae, model.params), KEY, data.test["x"], model.context(data.test))[:MOST_POINTS]
    drawn = draw_prior(vae, model.params, KEY)[: len(z)]
    z, drawn = map(POSTERIORS[posterior_of(model.prior)].coordinates, (z, drawn))
    return np.asarray(z), y if y is None else y[:MOST_POINTS], np.asarray(drawn)


@partial(jax.jit, static_argnums=0)
def _decode(vae: vp.VAE, params: vp.VAEParams, z: jax.Array) -> jax.Array:
    return jax.vmap(lambda z: vae.likelihood(params, z).mean())(z)


@partial(jax.jit, static_argnums=0)
def _log_prior(vae: vp.VAE, params: vp.VAEParams, z: jax.Array) -> jax.Array:
    return vae.latent_prior(params).log_prob(z)


@partial(jax.jit, static_argnums=0)
def _centres(networks: vp.VAE, params: vp.VAEParams, x: jax.Array) -> jax.Array:
    return jax.vmap(lambda x: centre(networks.posterior(params, x)))(x)


def interpolate(model: Model, data: Dataset) -> list[tuple[np.ndarray, float]]:
    """Images along the line and along the dense path between two test images, and the mean log p(z) of each."""
    chosen = _two_images(data)
    first, last = _centres(*without_prior(model.vae, model.params), jnp.asarray(chosen))
    log_prior = partial(_log_prior, model.vae)
    paths = straight_line(first, last, FRAMES), dense_path(log_prior, model.params, first, last, FRAMES)
    return [
        (
            np.asarray(_decode(*without_prior(model.vae, model.params), path)),
            float(jnp.mean(log_prior(model.params, path))),
        )
        for path in paths
    ]


def _two_images(data: Dataset) -> np.ndarray:
    """Two test images, of the first class and of the last where there are classes."""
    x, y = data.test["x"], data.test.get("y")
    if y is None or y.min() == y.max():
        return x[:2]
    return np.stack([x[np.argmax(y == y.min())], x[np.argmax(y == y.max())]])


def draw_interpolations(path: Path, models: list[Model], data: Dataset) -> None:
    """Draws two rows for each prior: decoded images along the line, and along the dense path."""
    size = (WIDTH, 1.8 * len(models))
    figure, axes = plt.subplots(len(models), 1, figsize=size, layout="constrained", squeeze=False)
    for axis, model in zip(axes.flat, models, strict=True):
        (line, of_line), (dense, of_dense) = interpolate(model, data)
        _show_images(axis, np.concatenate([line, dense]), FRAMES)
        axis.set_title(
            f"{short_name(model.prior)}: mean log p(z) {of_line:.1f} on the line (above), {of_dense:.1f} on the path",
            fontsize=11,
        )
    figure.savefig(path, dpi=180)
    plt.close(figure)


def _show_images(axis: Any, images: np.ndarray, num_columns: int) -> None:
    axis.imshow(tile(images, num_columns), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.axis("off")


@partial(jax.jit, static_argnums=0)
def _draw_components(vae: vp.VAE, params: vp.VAEParams) -> tuple[jax.Array, jax.Array]:
    """The heaviest components [C]; the mean of each, and samples of it [C, 1 + DRAWS, dim]."""
    prior = vae.latent_prior(params)
    means, _ = prior.component_moments()
    means = unit_vector(means) if space_of(prior) == SPHERE else means

    def draw(component: jax.Array) -> jax.Array:
        only = prior.with_log_weights(jnp.full_like(prior.log_weights, -jnp.inf).at[component].set(0))
        drawn = only.sample(seed=jax.random.fold_in(KEY, component), sample_shape=DRAWS)
        return jnp.concatenate([means[component][None], drawn])

    chosen = jnp.argsort(-prior.log_weights)[:COMPONENTS]
    return chosen, jax.lax.map(draw, chosen)


def by_component(model: Model, data: Dataset) -> np.ndarray:
    """For each of the heaviest components: its pseudo-input, or its decoded mean, and decoded samples of it."""
    chosen, z = _draw_components(model.vae, model.params)
    images = np.array(_decode(*without_prior(model.vae, model.params), z.reshape(-1, z.shape[-1])))
    if has_pseudo_inputs(model.vae.prior):
        inputs = np.asarray(vp.pseudo_inputs(model.vae.prior, model.params.prior))
        images[:: DRAWS + 1] = inputs[np.asarray(chosen)]
    return images


def draw_components(path: Path, models: list[Model], data: Dataset) -> None:
    """Draws a panel for each mixture: a row is a component."""
    per_row = min(2, len(models))
    num_rows = -(-len(models) // per_row)
    size = (WIDTH, 3.9 * num_rows)
    figure, axes = plt.subplots(num_rows, per_row, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, model in zip(axes.flat, models, strict=False):
        _show_images(axis, by_component(model, data), DRAWS + 1)
        first = "pseudo-input" if has_pseudo_inputs(model.vae.prior) else "mean"
        axis.set_title(headline(f"{short_name(model.prior)}: {first}, samples", 2), fontsize=11)
    figure.savefig(path, dpi=180)
    plt.close(figure)
