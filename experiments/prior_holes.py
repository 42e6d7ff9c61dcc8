"""Draws the README's picture: the holes of N(0, I), and the same VAE with a mixture fitted to its encodings.

python -m experiments.prior_holes
python -m experiments.prior_holes --dataset mnist --preset paper --epochs 30 --learning-rate 1e-3
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import distrax
import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments import measures
from experiments.data.dataset import Dataset, load
from experiments.measures.holes import divergence, encode
from experiments.models.trained import Model
from experiments.options import command_line
from experiments.options.programs import RunOptions
from experiments.options.resolve import resolve
from experiments.options.settings import Settings
from experiments.report import hole_figure, results
from experiments.report.hole_figure import Plane
from experiments.runs.files import MEASURED, keep
from experiments.runs.folder import open_run, output_folder
from experiments.training.train import train_all
from vaepriors_jax.evaluation.latents.hole_maps import Area, MapKeys, choose_area, join_map, log_density_on
from vaepriors_jax.evaluation.latents.plane_marginals import PlaneMarginal, coordinates, exact_marginal, log_density
from vaepriors_jax.vae import without_prior

KEY = jax.random.key(9)
NUM_SAMPLES, CHUNK = 20_000, 500
NUM_POINTS, HALF_WIDTH = 200, 4.5  # of the grid on which the plane is drawn
MOST_DOTS = 2000  # encodings that are drawn


@dataclass(frozen=True)
class Options(RunOptions):
    """Trains a VAE with N(0, I), fits a mixture to its encodings, and draws holes and samples of both priors."""

    latent_dim: int | None = None
    """Dimension of z; that of the preset by default."""
    num_components: int | None = None
    """Components of the mixture; those of the preset by default."""
    learning_rate: float | None = None
    """Learning rate of Adam; that of the preset by default."""


class View(NamedTuple):
    """The plane on which N(0, I) and encodings of training images differ most, and encodings of held-out images in it.

    Attributes:
        area: the part of the plane that is drawn.
        encoded: the marginal of q(z) on it, of held-out images.
        encodings: one z of each of these in the plane [N, 2].
        labels: their classes [N], all 0 where there are none.
    """

    area: Area
    encoded: PlaneMarginal
    encodings: jax.Array
    labels: np.ndarray


def view_of(model: Model, data: Dataset) -> View:
    """The plane of a model with N(0, I)."""
    keys = MapKeys.split(KEY)
    aggregated = vp.aggregated_posterior(model.vae, model.params, data.fixed_train["x"])
    from_p = model.vae.latent_prior(model.params).sample(seed=keys.p, sample_shape=NUM_SAMPLES)
    area, _ = choose_area(aggregated, keys, from_p, num_points=NUM_POINTS, half_width=HALF_WIDTH)
    held_out = np.concatenate([data.validation["x"], data.test["x"]])
    labels = np.zeros(len(held_out), int)  # one colour where there are none
    if data.num_classes is not None:
        labels = np.concatenate([data.validation["y"], data.test["y"]])
    z = encode(*without_prior(model.vae, model.params), keys.q, held_out, {})
    encoded = _marginal(area, vp.aggregated_posterior(model.vae, model.params, held_out))
    return View(area, encoded, _in_plane(area, z), labels)


def _in_plane(area: Area, z: jax.Array) -> jax.Array:
    return coordinates(area.axes, z - area.origin)


def _marginal(area: Area, distribution: distrax.Distribution) -> PlaneMarginal:
    found = exact_marginal(distribution, area.origin, area.axes)
    assert found is not None  # of Gaussians and their mixtures there is one
    return found


def measure(model: Model, data: Dataset, view: View) -> dict[str, list[float]]:
    """Hole mass in the plane and divergence in all dimensions, each with its standard error."""
    prior = model.vae.latent_prior(model.params)
    z = _in_plane(view.area, prior.sample(seed=jax.random.fold_in(KEY, 1), sample_shape=NUM_SAMPLES))
    log_p, log_q = (log_density(density, z, CHUNK) for density in (_marginal(view.area, prior), view.encoded))
    mass, separation = float(jnp.mean(log_p - log_q > hole_figure.EXCESS)), divergence(model, data)
    return {
        "hole_mass": [mass, (mass * (1 - mass) / NUM_SAMPLES) ** 0.5],
        "divergence": [separation["divergence"], separation["divergence_standard_error"]],
    }


def plane_of(model: Model, view: View, hole_mass: tuple[float, float]) -> Plane:
    """The prior's density and its holes in the plane, with the encodings of held-out images."""
    p = model.vae.latent_prior(model.params)
    prior, z = _marginal(view.area, p), p.sample(seed=jax.random.fold_in(KEY, 2), sample_shape=NUM_SAMPLES)
    at_samples = log_density(prior, _in_plane(view.area, z), CHUNK)
    log_q, log_p = (log_density_on(view.area, density) for density in (view.encoded, prior))
    is_exact = jnp.asarray(True)
    return Plane(
        map=join_map(view.area, log_q, log_p, is_exact, is_exact),
        encodings=np.asarray(view.encodings[:MOST_DOTS]),
        labels=view.labels[:MOST_DOTS],
        levels=np.quantile(np.asarray(at_samples), (0.01, 0.1, 0.5)),
        hole_mass=hole_mass,
    )


def main(options: Options) -> dict[str, Any]:
    """Trains, fits the mixture, measures and draws."""
    data = load(options.dataset, **options.reading())
    config = resolve(options.comparison(seeds=1, priors=("standard",), refit=("mixture",)), data, conditional=False)
    if config.latent_dim < 2:
        raise ValueError(f"Expected --latent-dim >= 2 for a picture of a plane; got {config.latent_dim}.")
    folder = output_folder(options.output_dir, "prior_holes", options.dataset)
    with open_run("prior_holes", options, folder):
        return _measure_and_draw(config, data, folder)


def _measure_and_draw(config: Settings, data: Dataset, output_dir: Path) -> dict[str, Any]:
    trained = train_all(config, data, output_dir)
    if trained[0].result.failures:
        raise ValueError(f"{trained[0].name}: {trained[0].result.failures[0]}. Lower --learning-rate.")
    models = [prior.model(0) for prior in trained]
    view, rows = view_of(models[0], data), []
    for model in models:
        path = output_dir / MEASURED / f"{model.prior}-seed{model.seed}.json"
        measured = keep(path, partial(measure, model, data, view))
        rows.append({"prior": model.prior, "seed": model.seed, "num_encodings": len(data.validation["x"])} | measured)
    content = results.describe_run(output_dir, config.dataset, asdict(config)) | {"rows": rows}
    results.write_json(output_dir / "results.json", content)
    planes = [plane_of(model, view, row["hole_mass"]) for model, row in zip(models, rows, strict=True)]
    samples = [np.asarray(measures.generate(model, data, hole_figure.NUM_SAMPLES, mean=True)) for model in models]
    hole_figure.draw(output_dir / "prior_holes.png", planes, samples, [row["divergence"] for row in rows])
    print(f"Figure and results in {output_dir} ({content['seconds']:.0f} s).")
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
