"""Do the pseudo-inputs of a VampPrior come to resemble the training data?

python -m experiments.pseudo_inputs
python -m experiments.pseudo_inputs --dataset mnist --preset paper --epochs 100
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments import measures
from experiments.data.dataset import Dataset, load
from experiments.models.vaes import make_vae
from experiments.options import command_line
from experiments.options.programs import RunOptions
from experiments.options.resolve import resolve
from experiments.options.settings import Settings
from experiments.report import document, pseudo_input_figures, results
from experiments.report.document import Figure, Section
from experiments.report.pseudo_inputs import SETS, answer, distances_table
from experiments.report.summaries import of_pseudo_inputs
from experiments.runs.files import file_name
from experiments.runs.folder import open_run, output_folder
from experiments.runs.signals import stop_if_asked
from experiments.training import kept
from experiments.training.optimizers import optimizer_factory
from vaepriors_jax.evaluation.latents.components import mixture_usage
from vaepriors_jax.evaluation.samples import nearest_distances
from vaepriors_jax.evaluation.samples.feature_network import FeatureNetwork
from vaepriors_jax.training.atomic_write import replace_file

FACTORS = {"random": 10.0, "data": 1.0}  # of the learning rate, for pseudo-inputs from each start
SNAPSHOTS = (0, 1, 3, 10, 30, 100, 300, 1000)
KEY = jax.random.key(8)
CAPTIONS = {
    "evolution": "Each column is one pseudo-input, from its start at the top to the best epoch at the bottom.",
    "neighbours": "The same place in the three panels is the same component: the pseudo-input, the training image that "
    "is nearest to it, and the mean of what the decoder makes of its component. A pseudo-input that is a copy of its "
    "neighbour has been memorised; one that decodes to a clear image without being one is a code, not a picture.",
    "distances": "How far from the nearest training image: boxes are quartiles, whiskers 95 % of the images. "
    "Pseudo-inputs that resemble data lie where held-out images lie.",
}


@dataclass(frozen=True)
class Options(RunOptions):
    """Trains a VampPrior from random and from data pseudo-inputs, and compares them with real images."""

    dataset: str = "mnist_5k"
    """mnist_5k, digits, a TFDS name, or the path of your own .npz file, as in compare_priors; with labels."""
    num_components: int = 50
    """Pseudo-inputs."""
    starts: tuple[Literal["random", "data"], ...] = ("random", "data")
    """Where the pseudo-inputs start: N(0.05, 0.01) as in the paper, or training images."""
    prior_learning_rate_factor: float | None = None
    """Pseudo-inputs learn at so many times the learning rate; by default at 10 times from a random start, from which
    they stay faint otherwise, and at the learning rate from data."""


class Learned(NamedTuple):
    """The pseudo-inputs of one start.

    Attributes:
        start: "random" or "data".
        snapshots: pseudo-inputs [K, height, width] by epoch; the last is the best epoch.
        nearest: the training image nearest to each at the end [K, height, width].
        decoded: mean of the decoder at the mean of each component [K, height, width].
        distances: pixel distance to the nearest training image, of each of `SETS`.
        feature_distances: the same between features.
        entropies: entropy of the classes that the feature network gives to each image, in nats.
        usage: perplexity of the responsibilities over the training set, and number of unused components.
    """

    start: str
    snapshots: dict[int, np.ndarray]
    nearest: np.ndarray
    decoded: np.ndarray
    distances: dict[str, np.ndarray]
    feature_distances: dict[str, np.ndarray]
    entropies: dict[str, np.ndarray]
    usage: dict[str, float]


def hold_out(data: Dataset) -> tuple[Dataset, np.ndarray]:
    """A tenth of the grey training images, and the data set without them."""
    count = len(data.train["x"]) // 10
    kept = [{name: array[:-count] for name, array in split.items()} for split in (data.train, data.fixed_train)]
    return data._replace(train=kept[0], fixed_train=kept[1]), data.train["x"][-count:]


def class_entropies(network: FeatureNetwork, images: np.ndarray) -> np.ndarray:
    """Entropy of the feature network's classes for each image, in nats."""
    log_p = measures.class_log_probabilities(network, images)
    return np.asarray(-jnp.sum(jnp.exp(log_p) * log_p, axis=1))


class Training(NamedTuple):
    """A VAE with a VampPrior: its networks, its best parameters, and its pseudo-inputs by epoch."""

    vae: vp.VAE
    params: vp.VAEParams
    snapshots: dict[int, np.ndarray]


def train(start: str, config: Settings, data: Dataset, output_dir: Path) -> Training:
    """Trains from one start, and keeps the pseudo-inputs of some epochs and of the best."""
    vae, init = make_vae("vamp", config.sizes._replace(pseudo_inputs=start), data)
    name = f"{start} start"
    optimizer = optimizer_factory(config.gradients, config.prior_learning_rate_factor, config.average_decay)
    key_init, key_fit = jax.random.split(jax.random.key(config.seed))

    def write(epoch: int, params: vp.VAEParams) -> None:
        if epoch in SNAPSHOTS:
            path = _snapshot(name, epoch, output_dir)
            path.parent.mkdir(exist_ok=True)
            with replace_file(path) as file:
                np.save(file, inputs_of(vae, params))

    def after_epoch(epoch: vp.Epoch) -> bool:
        write(epoch.epoch, epoch.params)
        return stop_if_asked(epoch)

    def fit() -> vp.FitResult:
        params = init(key_init)
        write(0, params)
        return vp.fit(
            vae,
            params,
            key_fit,
            {"x": data.train["x"]},
            optimizer(config.all_learning_rates[0]),
            num_epochs=config.epochs,
            batch_size=config.batch_size,
            validation={"x": data.validation["x"]},
            patience=config.patience,
            objective=vp.Objective(warmup_epochs=config.warmup_epochs),
            transform=data.transform,
            checkpoints=kept.checkpoints(output_dir, name),
            callback=after_epoch,
            progress=name,
        )

    trained = kept.train_one(name, vae, config.seed, output_dir, fit)
    params, best = trained.model(0).params, int(trained.result.best_epoch[0])
    snapshots = {epoch: np.load(_snapshot(name, epoch, output_dir)) for epoch in SNAPSHOTS if epoch < best}
    return Training(vae, params, snapshots | {best: inputs_of(vae, params)})


def inputs_of(vae: vp.VAE, params: vp.VAEParams) -> np.ndarray:
    """The pseudo-inputs of a model."""
    return np.array(vp.pseudo_inputs(vae.prior, params.prior))


def _snapshot(name: str, epoch: int, output_dir: Path) -> Path:
    return output_dir / "snapshots" / f"{file_name(name)}-{epoch}.npy"


def flatten(images: Any) -> np.ndarray:
    """Images as vectors [N, pixels]."""
    return np.asarray(images).reshape(len(images), -1)


def nearest_images(images: np.ndarray, among: np.ndarray) -> np.ndarray:
    """The nearest of other images to each image."""
    square = np.sum(flatten(among) ** 2, axis=1) - 2 * flatten(images) @ flatten(among).T
    return among[square.argmin(axis=1)]


def learn(
    start: str, config: Settings, data: Dataset, held_out: np.ndarray, network: FeatureNetwork, output_dir: Path
) -> Learned:
    """Trains from one start, and compares the pseudo-inputs with real images."""
    vae, params, snapshots = train(start, config, data, output_dir)
    final = snapshots[max(snapshots)]
    noise = np.asarray(jax.random.uniform(KEY, (1000, *data.image_shape)))
    images = dict(zip(SETS, (final, snapshots[0], held_out, noise), strict=True))
    pixels = flatten(data.train["x"])
    features = np.asarray(network.features(data.train["x"]))
    means = jax.vmap(lambda u: vae.posterior(params, u).mean())(jnp.asarray(final))
    decoded = jax.vmap(lambda z: vae.likelihood(params, z).mean())(means)
    usage = mixture_usage(vae, params, KEY, data.fixed_train["x"])
    return Learned(
        start=start,
        snapshots=snapshots,
        nearest=nearest_images(final, data.train["x"]),
        decoded=np.asarray(decoded),
        distances={name: nearest_distances(flatten(x), pixels) for name, x in images.items()},
        feature_distances={
            name: nearest_distances(np.asarray(network.features(x)), features) for name, x in images.items()
        },
        entropies={name: class_entropies(network, x) for name, x in images.items()},
        usage={
            "responsibility_perplexity": float(usage.responsibility_perplexity),
            "num_unused": int(usage.num_unused),
        },
    )


def mean_separation(images: np.ndarray) -> float:
    """Mean pixel distance from each image to the nearest other one."""
    flat = flatten(images).astype(np.float64)
    square = np.sum((flat[:, None] - flat[None]) ** 2, axis=-1)
    np.fill_diagonal(square, np.inf)
    return float(np.sqrt(square.min(axis=1)).mean())


def measure(learned: Learned) -> dict[str, Any]:
    """The numbers that answer the question: means with standard errors over images, and shares among real images."""

    def means(values: dict[str, np.ndarray]) -> dict[str, list[float]]:
        return {name: [float(x.mean()), float(x.std(ddof=1) / len(x) ** 0.5)] for name, x in values.items()}

    def share_within(values: dict[str, np.ndarray]) -> float:
        return float(np.mean(values["pseudo-inputs"] <= np.quantile(values["held-out images"], 0.95)))

    return {
        "start": learned.start,
        "best_epoch": max(learned.snapshots),
        "distance": means(learned.distances),
        "feature_distance": means(learned.feature_distances),
        "class_entropy": means(learned.entropies),
        "share_within_pixels": share_within(learned.distances),
        "share_within_features": share_within(learned.feature_distances),
        "share_within_entropy": share_within(learned.entropies),
        "num_components": len(learned.nearest),
        "apart": mean_separation(learned.snapshots[max(learned.snapshots)]),
        "apart_at_start": mean_separation(learned.snapshots[0]),
        **learned.usage,
    }


def draw(learned: list[Learned], output_dir: Path) -> list[Figure]:
    """Draws the figures, and gives their captions."""
    figures = []
    for start, snapshots, nearest, decoded, *_ in learned:
        evolution, neighbours = f"evolution_{start}.png", f"neighbours_{start}.png"
        final = snapshots[max(snapshots)]
        pseudo_input_figures.draw_evolution(output_dir / evolution, start, snapshots)
        pseudo_input_figures.draw_neighbours(output_dir / neighbours, start, final, nearest, decoded)
        figures.append(Figure(evolution, f"Evolution, {start} start", CAPTIONS["evolution"]))
        figures.append(Figure(neighbours, f"Nearest training images, {start} start", CAPTIONS["neighbours"]))
    distances = {result.start: (result.distances, result.feature_distances) for result in learned}
    pseudo_input_figures.draw_distances(output_dir / "distances.png", distances)
    return [*figures, Figure("distances.png", "Distances", CAPTIONS["distances"])]


def main(options: Options) -> dict[str, Any]:
    """Trains from each start, prints table and answer, and writes the output folder."""
    data = load(options.dataset, **options.reading())
    config = resolve(options.comparison(seeds=1, priors=("vamp",), pseudo_inputs="random"), data)
    rest, held_out = hold_out(data)
    num = len(rest.train["x"])
    if "data" in options.starts and options.num_components > num:
        raise ValueError(f"Expected --num-components <= {num} to start at images; got {options.num_components}.")
    if data.num_classes is None:
        raise ValueError(
            f"Expected labels, which train the features that images are compared by; {data.name} has none."
        )
    folder = output_folder(options.output_dir, "pseudo_inputs", options.dataset)
    with open_run("pseudo_inputs", options, folder):
        network = cast(FeatureNetwork, measures.feature_network(data))
        factors = {start: options.prior_learning_rate_factor or FACTORS[start] for start in options.starts}
        learned = [
            learn(start, replace(config, prior_learning_rate_factor=factor), rest, held_out, network, folder)
            for start, factor in factors.items()
        ]
        return _report(learned, factors, config, data, network, folder)


def _report(
    learned: list[Learned],
    factors: dict[str, float],
    config: Settings,
    data: Dataset,
    network: FeatureNetwork,
    output_dir: Path,
) -> dict[str, Any]:
    rows = [measure(result) for result in learned]
    for row, factor in zip(rows, factors.values(), strict=True):
        row |= {"answer": answer(row), "prior_learning_rate_factor": factor}
    content = results.describe_run(output_dir, config.dataset, asdict(config)) | {
        "features": measures.describe_features(network),
        "rows": rows,
    }
    results.write_json(output_dir / "results.json", content)
    answers, short = [row["answer"] for row in rows], of_pseudo_inputs(rows)
    sections = [
        Section("Do they resemble training data?", answers),
        Section("Pictures", figures=draw(learned, output_dir)),
        Section("Tables", tables=[short], details=[distances_table(rows)]),
    ]
    shown = [Section("", answers), Section("", tables=[short])]
    document.publish(output_dir, content, f"{data.name}: pseudo-inputs against real images", sections, shown)
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
