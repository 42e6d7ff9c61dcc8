"""What does a prior for each class, p(z|y), give, beside the same VAE with one N(0, I) for all classes?

A third VAE reads the label in its prior alone: its classes must be places in the latent space.

python -m experiments.conditional_generation
python -m experiments.conditional_generation --dataset mnist --preset paper --epochs 20
"""

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments import measures
from experiments.data.dataset import Dataset, load, take_test
from experiments.measures import EvaluationSettings, SampleScorer
from experiments.models.trained import Model, Trained
from experiments.models.vaes import Made, make_vae
from experiments.options import command_line
from experiments.options.programs import SeedsOptions
from experiments.options.resolve import resolve
from experiments.options.settings import Settings
from experiments.report import document, figures, results
from experiments.report.classes import BLIND, CONDITIONAL, SHARED, classes_table, words
from experiments.report.document import Figure, Section
from experiments.report.summaries import of_classes
from experiments.runs.files import MEASURED, file_name, keep
from experiments.runs.folder import open_run, output_folder
from experiments.training.train import train

KEY = jax.random.key(9)


NUM_DRAWN = 10  # samples of each class in the figure


@dataclass(frozen=True)
class Options(SeedsOptions):
    """Trains a conditional VAE with a prior for each class and with one for all, and asks both for each class."""

    dataset: str = "mnist_5k"
    """mnist_5k, digits, a TFDS name, or the path of your own .npz file, with labels."""
    num_by_class: int = 200
    """Samples of each class that are given to the classifier."""


def make_all(config: Settings, data: Dataset) -> dict[str, Made]:
    """Networks that read the label with both priors, and networks that do not with a prior for each class."""
    sizes = config.sizes
    vae, init = make_vae("conditional", sizes, data)
    plain, init_plain = make_vae("standard", sizes, data)
    shared, blind = vae._replace(prior=plain.prior), plain._replace(prior=vae.prior)
    return {  # the same key starts the networks of the first two at the same values
        CONDITIONAL: (vae, init),
        SHARED: (shared, lambda key: init(key)._replace(prior=shared.prior.init(key))),
        BLIND: (blind, lambda key: init_plain(key)._replace(prior=blind.prior.init(key))),
    }


@partial(jax.jit, static_argnums=(0, 3, 4, 5))
def by_class(
    vae: vp.VAE, params: vp.VAEParams, key: jax.Array, num_classes: int, num: int, mean: bool = False
) -> jax.Array:
    """Samples of every class [classes, num, height, width], or their means."""

    def draw(key: jax.Array, label: jax.Array) -> jax.Array:
        return vp.generate(vae, params, key, num, mean=mean, y=label)

    return jax.vmap(draw)(jax.random.split(key, num_classes), jnp.arange(num_classes))


def shares_in_class(scorer: SampleScorer, images: jax.Array) -> np.ndarray:
    """Share of images [classes, N, height, width] that the feature network puts into their class [classes]."""
    log_p = measures.class_log_probabilities(scorer.network, images.reshape(-1, *images.shape[2:]))
    classes = jnp.argmax(log_p, axis=1).reshape(images.shape[:2])
    return np.asarray(jnp.mean(classes == jnp.arange(len(images))[:, None], axis=1))


def class_kl(model: Model, data: Dataset) -> float:
    """KL(q(z|y) || p(z|y)) in nats, the mean over classes: how badly the prior of a class fits its encodings."""
    x, y = data.fixed_train["x"], data.fixed_train["y"]
    rows = [np.flatnonzero(y == label) for label in np.unique(y)]
    num = min(map(len, rows))  # as many of each, so that one program serves all classes
    divergences = [
        vp.elbo_surgery(model.vae, model.params, KEY, x[chosen[:num]], y=y[chosen[:num]]).marginal_kl.mean
        for chosen in rows
    ]
    return float(np.mean(divergences))


def measure(model: Model, data: Dataset, scorer: SampleScorer, num: int) -> dict[str, Any]:
    """What is measured of a model."""
    settings = EvaluationSettings(scorer=scorer)
    shares = shares_in_class(scorer, by_class(model.vae, model.params, KEY, scorer.network.num_classes, num))
    scores = measures.samples(model, data, settings)
    test = {
        **measures.elbo(model, data, settings),
        "share": float(shares.mean()),
        "class_kl": class_kl(model, data),
        "fid": scores["generated"]["fid"],
        "coverage": scores["generated"]["coverage"],
    }
    return {"test": test, "shares": shares.tolist(), "samples": scores}


def rows_of(trained: Trained, data: Dataset, scorer: SampleScorer, num: int, output_dir: Path) -> list[dict[str, Any]]:
    """One row for each seed."""
    rows = []
    for replica, seed in enumerate(trained.seeds):
        row = trained.row(replica)
        if "failure" in row:
            raise ValueError(f"{trained.name}, seed {seed}: {row['failure']}. Lower --learning-rate.")
        path = output_dir / MEASURED / f"{file_name(trained.name)}-seed{seed}.json"
        rows.append(row | keep(path, partial(measure, trained.model(replica), data, scorer, num)))
    return rows


def draw(models: list[Model], data: Dataset, shares: dict[str, np.ndarray], real: np.ndarray, folder: Path) -> list:
    """Draws samples class by class, and the shares [seeds, classes] in the asked class."""
    num = len(real)
    picked = [data.test["x"][data.test["y"] == label][:NUM_DRAWN] for label in range(num)]
    blank = np.zeros((NUM_DRAWN, *data.image_shape), np.float32)
    panels = {"test images": np.concatenate([np.concatenate([x, blank])[:NUM_DRAWN] for x in picked])}
    for model in models:
        means = np.asarray(by_class(model.vae, model.params, KEY, num, NUM_DRAWN, True))
        panels[f"prior {model.prior}"] = means.reshape(-1, *data.image_shape)
    title = f"{data.name}: one row a class; means of p(x|z, y)"
    figures.image_panels(folder / "by_class.png", panels, num_columns=NUM_DRAWN, title=title)
    figures.share_lines(folder / "shares.png", shares, real)
    grids = (
        "One row for each class that was asked for, from class 0 at the top. Where a prior puts mass at z that no "
        "image of the class is encoded to, an image leaves the class of its row: look for those."
    )
    lines = (
        "Share of samples that the feature network puts into the asked class, one point for each seed, the bar is "
        "their mean; black: test images. The network makes mistakes on those too."
    )
    return [Figure("by_class.png", "Samples by class", grids), Figure("shares.png", "Share in the asked class", lines)]


def shares_of_test_images(scorer: SampleScorer, data: Dataset) -> np.ndarray:
    """Share of the test images of each class that the feature network puts into that class [classes]."""
    log_p = measures.class_log_probabilities(scorer.network, data.test["x"])
    correct = np.asarray(jnp.argmax(log_p, axis=1)) == data.test["y"]
    return np.array([correct[data.test["y"] == label].mean() for label in range(scorer.network.num_classes)])


def main(options: Options) -> dict[str, Any]:
    """Trains the VAEs, asks each for each class, and writes the output folder."""
    if options.num_by_class < 1:
        raise ValueError(f"Expected --num-by-class >= 1; got {options.num_by_class}.")
    data = load(options.dataset, **options.reading())
    if data.num_classes is None:
        raise ValueError(f"Expected labels, which are the classes to ask for; {data.name} has none.")
    config = resolve(options.comparison(priors=("conditional",)), data)
    data = take_test(data, config.num_test)
    if empty := sorted(set(range(data.num_classes or 0)) - set(data.test["y"].tolist())):
        raise ValueError(f"Expected test images of each class; got none of {empty}. Raise --num-test.")
    folder = output_folder(options.output_dir, "conditional_generation", options.dataset)
    with open_run("conditional_generation", options, folder):
        return _ask(config, options.num_by_class, data, folder)


def _ask(config: Settings, num_by_class: int, data: Dataset, output_dir: Path) -> dict[str, Any]:
    scorer = measures.make_sample_scorer(data)
    if scorer is None:
        raise ValueError(f"Expected more test images, to score samples; got {len(data.test['x'])}. Raise --num-test.")
    trained = [train(name, config, data, output_dir, made) for name, made in make_all(config, data).items()]
    rows = [row for prior in trained for row in rows_of(prior, data, scorer, num_by_class, output_dir)]
    shares = {prior.name: np.array([row["shares"] for row in rows if row["prior"] == prior.name]) for prior in trained}
    real = shares_of_test_images(scorer, data)
    content = results.describe_run(output_dir, config.dataset, asdict(config)) | {
        "data": data.description,
        "features": measures.describe_features(scorer.network),
        "rows": rows,
        "real_shares": real.tolist(),
    }
    results.write_json(output_dir / "results.json", content)
    pictures = draw([prior.model(0) for prior in trained], data, shares, real, output_dir)
    answers, table = words(rows, content["real_shares"]), classes_table(rows, content["real_shares"])
    short = of_classes(content)
    sections = [
        Section("Does a prior for each class help?", answers),
        Section("Pictures", figures=pictures),
        Section("Tables", tables=[short], details=[table]),
    ]
    shown = [Section("", answers), Section("", tables=[short])]
    document.publish(output_dir, content, f"{data.name}: generation by class", sections, shown)
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
