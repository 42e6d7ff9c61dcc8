"""Where do the encodings lie in the latent plane, and where does the prior sample? Draws both, for several priors.

python -m experiments.prior_visualization
python -m experiments.prior_visualization --dataset mnist --preset paper --priors standard mixture vamp flow
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments import measures
from experiments.comparison.candidates import kept_measures
from experiments.data.dataset import Dataset, load
from experiments.measures import EvaluationSettings, Model
from experiments.options import command_line
from experiments.options.config import Binarization, Config, LikelihoodName, Network
from experiments.options.resolve import resolve
from experiments.options.settings import Settings
from experiments.report import document, latent_figures, results
from experiments.report.latent_figures import Portrait
from experiments.report.plane import MEASURES, describe
from experiments.report.recommendation import display_name
from experiments.runs.folder import open_run, output_folder
from experiments.training.train import train

NUM_SAMPLES, GRID = 64, 12


KEY = jax.random.key(6)


@dataclass(frozen=True)
class Options:
    """Trains VAEs with a latent plane, and draws encodings, prior and decoder of each."""

    dataset: str = "mnist_5k"
    """mnist_5k, digits, a TFDS name, or the path of your own .npz file, as in compare_priors."""
    priors: tuple[str, ...] = ("standard", "mixture")
    """Which priors, one row each: standard, mixture, vamp, flow, or your own as module:function."""
    preset: Literal["quick", "paper"] = "quick"
    """Sizes and schedule, as in compare_priors."""
    latent_dim: int = 2
    """Dimension of z; above 2 the marginals on the plane of the encodings' two principal components are drawn."""
    num_components: int = 10
    """Components of the mixture, and pseudo-inputs of the VampPrior."""
    epochs: int | None = None
    """The most epochs; those of the preset by default."""
    learning_rate: float | None = None
    """Learning rate of Adam; that of the preset by default."""
    seed: int = 0
    """The seed."""
    grey: bool = False
    """Make images of three channels grey."""
    binarization: Binarization | None = None
    """How images become binary, as in compare_priors; by default dynamic for grey images, and none for colours."""
    likelihood: LikelihoodName | None = None
    """p(x|z), as in compare_priors; by default one that fits the images."""
    network: Network = "dense"
    """Encoder and decoder, as in compare_priors."""
    num_points: int = 2000
    """Training images whose encodings are drawn as points."""
    data_dir: str | None = None
    """Folder of prepared TFDS data sets; by default TFDS_DATA_DIR."""
    output_dir: str | None = None
    """Where results go; by default a new folder under runs/."""


def comparison_of(options: Options) -> Config:
    """These options as those of compare_priors."""
    shared = {name: value for name, value in asdict(options).items() if name != "num_points"}
    return Config(**shared, seeds=1)


def _decode(model: Model, z: jax.Array) -> np.ndarray:
    return np.asarray(jax.vmap(lambda z: model.vae.likelihood(model.params, z).mean())(z))


def holes_of(model: Model, data: Dataset, output_dir: Path) -> dict[str, Any]:
    """The row of a model in results.json: each measure of its holes with its standard error."""
    holes = kept_measures(model, data, EvaluationSettings(), {"holes": measures.holes}, output_dir)["holes"]
    row = {"prior": model.prior, "seed": model.seed, "num_encodings": [len(data.validation["x"])]}
    return row | {name: (holes[name], holes[f"{name}_standard_error"]) for name in MEASURES}


def portray(model: Model, row: dict[str, Any], data: Dataset, num_points: int) -> Portrait:
    """The parts of a model's figure: densities on the plane, encodings in it, and decoded images."""
    plane = measures.hole_map(model, data)
    rows = np.asarray(jax.random.permutation(KEY, len(data.fixed_train["x"])))[:num_points]
    x = data.fixed_train["x"][rows]
    posterior = jax.vmap(partial(model.vae.posterior, model.params))(jnp.asarray(x))
    z = posterior.sample(seed=jax.random.fold_in(KEY, 1))
    from_prior = model.vae.latent_prior(model.params).sample(seed=jax.random.fold_in(KEY, 2), sample_shape=NUM_SAMPLES)
    first, second = (jnp.linspace(axis[0], axis[-1], GRID) for axis in (plane.first, plane.second))
    # Rows of images from the top, where the second coordinate is largest.
    grid = plane.origin + first[None, :, None] * plane.axes[0] + second[::-1, None, None] * plane.axes[1]
    return Portrait(
        name=display_name(model.prior),
        map=plane,
        points=np.asarray((z - plane.origin) @ plane.axes.T),
        labels=data.train["y"][rows] if data.num_classes else None,
        samples=_decode(model, from_prior),
        grid=_decode(model, grid.reshape(-1, grid.shape[-1])),
        hole_mass=row["hole_mass"],
        divergence=row["divergence"],
    )


def main(options: Options) -> dict[str, Any]:
    """Trains, draws, prints the holes, and writes the output folder."""
    if options.latent_dim < 2:
        raise ValueError(f"Expected --latent-dim >= 2 for a picture of the plane; got {options.latent_dim}.")
    if options.num_points < 1:
        raise ValueError(f"Expected --num-points >= 1; got {options.num_points}.")
    data = load(options.dataset, binarization=options.binarization, data_dir=options.data_dir, grey=options.grey)
    config = resolve(comparison_of(options), data, conditional=False, gaussian=True)
    folder = output_folder(options.output_dir, "prior_visualization", options.dataset)
    with open_run("prior_visualization", options, folder):
        return _draw(config, options.num_points, data, folder)


def _draw(config: Settings, num_points: int, data: Dataset, output_dir: Path) -> dict[str, Any]:
    models = []
    for name in config.priors:
        trained = train(name, config, data, output_dir)
        if trained.result.failures:
            raise ValueError(f"{name}: {trained.result.failures[0]}. Lower --learning-rate.")
        models.append(trained.model(0))
    rows = [holes_of(model, data, output_dir) for model in models]
    content = results.describe_run(output_dir, config.dataset, asdict(config)) | {"rows": rows}
    results.write_json(output_dir / "results.json", content)
    portraits = [portray(model, row, data, num_points) for model, row in zip(models, rows, strict=True)]
    latent_figures.draw(output_dir / "latent_plane.png", portraits, data.name, config.latent_dim)
    document.publish(output_dir, content, f"{data.name}: encodings and priors in the latent plane", describe(content))
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
