"""Draws the README's picture: the holes of N(0, I), and the same VAE with a mixture fitted to its encodings.

python -m experiments.prior_holes
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp
from experiments.data.dataset import Dataset, load
from experiments.options import command_line
from experiments.report import hole_figure, results
from experiments.report.hole_figure import Plane
from experiments.runs.files import MEASURED, keep
from experiments.runs.folder import open_run, output_folder
from experiments.runs.signals import stop_if_asked
from experiments.training import kept

WIDTH = 256
PIXEL_SCALE = 0.15  # of the Gaussian p(x|z) of grey digits
QUANTILE = 0.01  # of log q(z) at held-out encodings: below it lie the holes


@dataclass(frozen=True)
class Options:
    """Trains a VAE of two latents on digits and one of many on MNIST, and fits a mixture to the encodings of each."""

    dataset: str = "mnist"
    """Where the samples are from: a TFDS name, digits, or the path of an .npz file."""
    latent_dim: int = 20
    """Latents of the VAE that makes the samples."""
    num_images: int = 24_000
    """Training images of that VAE."""
    epochs: int = 30
    """Its epochs."""
    epochs_of_plane: int = 100
    """Epochs of the VAE with two latents."""
    data_dir: str | None = None
    """Folder of prepared TFDS data sets; by default TFDS_DATA_DIR."""
    output_dir: str | None = None
    """Where results go; by default a new folder under runs/."""


class Encoder(nn.Module):
    """q(z|x) of a flat image."""

    latent_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> distrax.Distribution:
        """A diagonal Gaussian."""
        hidden = nn.relu(nn.Dense(WIDTH)(nn.relu(nn.Dense(WIDTH)(x))))
        loc, log_scale = jnp.split(nn.Dense(2 * self.latent_dim)(hidden), 2)
        return vp.normal_diag(loc, jnp.exp(log_scale))


class Decoder(nn.Module):
    """p(x|z) of a flat image."""

    num_pixels: int
    binary: bool

    @nn.compact
    def __call__(self, z: jax.Array) -> distrax.Distribution:
        """A Bernoulli of binary pixels, a Gaussian of grey ones."""
        raw = nn.Dense(self.num_pixels)(nn.relu(nn.Dense(WIDTH)(nn.relu(nn.Dense(WIDTH)(z)))))
        return vp.bernoulli(raw) if self.binary else vp.normal_diag(nn.sigmoid(raw), jnp.full_like(raw, PIXEL_SCALE))


class Model(NamedTuple):
    """A trained VAE with its data: flat images for training, and others to measure with."""

    name: str
    vae: vp.VAE
    params: vp.VAEParams
    train: jax.Array
    held_out: jax.Array
    labels: np.ndarray

    def encodings(self, key: jax.Array) -> jax.Array:
        """One z of q(z|x) for each held-out image."""
        keys = jax.random.split(key, len(self.held_out))
        return jax.jit(jax.vmap(lambda x, key: self.vae.posterior(self.params, x).sample(seed=key)))(
            self.held_out, keys
        )

    def decode(self, z: jax.Array) -> np.ndarray:
        """The means of p(x|z)."""
        return np.asarray(jax.vmap(lambda z: self.vae.likelihood(self.params, z).mean())(z))


def _flat(images: np.ndarray) -> jax.Array:
    return jnp.asarray(images.reshape(len(images), -1))


def train(data: Dataset, latent_dim: int, num_images: int, num_epochs: int, output_dir: Path) -> Model:
    """Trains a VAE with N(0, I), unless the output folder holds it."""
    x = _flat(data.train["x"][:num_images])
    encoder, decoder = Encoder(latent_dim), Decoder(x.shape[1], data.num_levels == 2)
    vae = vp.VAE(encoder.apply, decoder.apply, vp.standard_normal(latent_dim))

    name = f"{data.name}-{latent_dim}"

    def fit() -> vp.FitResult:
        keys = jax.random.split(jax.random.key(0), 3)
        params = vp.VAEParams(encoder.init(keys[0], x[0]), decoder.init(keys[1], jnp.zeros(latent_dim)), {})
        optimizer = optax.adam(2e-3 if latent_dim == 2 else 1e-3)
        options: dict[str, Any] = {"num_epochs": num_epochs, "transform": data.transform, "callback": stop_if_asked}
        checkpoints = kept.checkpoints(output_dir, name)
        return vp.fit(vae, params, keys[2], {"x": x}, optimizer, checkpoints=checkpoints, **options)

    params = kept.train_one(name, vae, 0, output_dir, fit).model(0).params
    held_out = _flat(np.concatenate([data.validation["x"], data.test["x"]]))
    labels = np.zeros(len(held_out), int)  # one colour where there are none
    if data.num_classes is not None:
        labels = np.concatenate([data.validation["y"], data.test["y"]])
    return Model(name, vae, params, _flat(data.fixed_train["x"][:num_images]), held_out, labels)


def refit(model: Model, latent_dim: int, num_components: int, output_dir: Path) -> Model:
    """Gives the trained VAE a mixture that is fitted to its encodings, unless the output folder holds it."""
    prior = vp.mixture(latent_dim, num_components)
    name, vae = f"{model.name}-refit", model.vae._replace(prior=prior)

    def fit() -> vp.VAEParams:
        return vp.fit_prior(prior, model.vae, model.params, jax.random.key(1), model.train)

    return model._replace(name=name, vae=vae, params=kept.params(output_dir / "models" / name, prior, fit))


def hole_mass_of(model: Model) -> tuple[float, float]:
    """The prior's mass where no held-out image is encoded, and its standard error."""
    prior = model.vae.latent_prior(model.params)
    aggregated = vp.aggregated_posterior(model.vae, model.params, model.train)
    z = model.encodings(jax.random.key(2))
    mass = vp.hole_mass(prior, aggregated, jax.random.key(3), quantile=QUANTILE, held_out=z)
    return float(mass.prior_in_holes.mean), float(mass.prior_in_holes.standard_error)


def plane_of(model: Model, hole_mass: tuple[float, float]) -> Plane:
    """The prior's density and its holes in the plane of two latents, with the encodings of held-out images."""
    prior = model.vae.latent_prior(model.params)
    aggregated = vp.aggregated_posterior(model.vae, model.params, model.train)
    z = model.encodings(jax.random.key(2))
    samples = prior.sample(seed=jax.random.key(4), sample_shape=10_000)
    outcome = vp.hole_map(prior, aggregated, half_width=4.5)
    return Plane(
        map=outcome,
        encodings=np.asarray((z - outcome.origin) @ outcome.axes.T),
        labels=model.labels,
        threshold=float(jnp.quantile(vp.log_prob_in_chunks(aggregated, z), QUANTILE)),
        levels=np.quantile(np.asarray(prior.log_prob(samples)), (0.01, 0.1, 0.5)),
        hole_mass=hole_mass,
    )


def divergence_of(model: Model) -> tuple[float, float]:
    """How well a classifier tells encodings of held-out images from the prior's samples, and its standard error."""
    z = model.encodings(jax.random.key(2))
    half = len(z) // 2
    samples = model.vae.latent_prior(model.params).sample(seed=jax.random.key(3), sample_shape=len(z))
    outcome = vp.classifier_divergence(jax.random.key(4), z[:half], samples[:half], z[half:], samples[half:])
    return float(outcome.jensen_shannon.mean), float(outcome.jensen_shannon.standard_error)


def samples_of(model: Model, image_shape: tuple[int, ...]) -> np.ndarray:
    """Decoded samples of the prior."""
    prior = model.vae.latent_prior(model.params)
    z = prior.sample(seed=jax.random.key(5), sample_shape=hole_figure.NUM_SAMPLES)
    return model.decode(z).reshape(-1, *image_shape)


def main(options: Options) -> dict[str, Any]:
    """Trains, fits the mixtures, measures and draws."""
    digits, images = load("digits", binarization="none"), load(options.dataset, data_dir=options.data_dir)
    folder = output_folder(options.output_dir, "prior_holes", options.dataset)
    with open_run("prior_holes", options, folder):
        return _measure_and_draw(options, digits, images, folder)


def _measure_and_draw(options: Options, digits: Dataset, images: Dataset, output_dir: Path) -> dict[str, Any]:
    flat = train(digits, 2, len(digits.train["x"]), options.epochs_of_plane, output_dir)
    deep = train(images, options.latent_dim, options.num_images, options.epochs, output_dir)
    planes, models = (flat, refit(flat, 2, 50, output_dir)), (deep, refit(deep, options.latent_dim, 100, output_dir))
    rows = [
        {
            "prior": name,
            "hole_mass": keep(output_dir / MEASURED / f"{plane.name}.json", partial(hole_mass_of, plane)),
            "divergence": keep(output_dir / MEASURED / f"{model.name}.json", partial(divergence_of, model)),
        }
        for name, plane, model in zip(("standard", "standard, refit mixture"), planes, models, strict=True)
    ]
    content = results.describe_run(output_dir, options.dataset, asdict(options)) | {"rows": rows}
    results.write_json(output_dir / "results.json", content)
    drawn = [plane_of(plane, row["hole_mass"]) for plane, row in zip(planes, rows, strict=True)]
    samples = [samples_of(model, images.image_shape) for model in models]
    divergences = [row["divergence"] for row in rows]
    hole_figure.draw(output_dir / "prior_holes.png", drawn, samples, divergences, options.latent_dim, images.name)
    print(f"Figure and results in {output_dir} ({content['seconds']:.0f} s).")
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
