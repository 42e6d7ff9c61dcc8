"""Generation by class: a prior for each class, p(z|y), beside the same VAE with one N(0, I) for all classes.

A third VAE reads the label in its prior alone: there the class has to be a place in the latent space.

python -m experiments.conditional_generation
python -m experiments.conditional_generation --dataset mnist --preset paper --epochs 20
"""

import time
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
from experiments.measures import Judge
from experiments.models.trained import Model, Trained
from experiments.models.vaes import Made, make_vae
from experiments.options import command_line
from experiments.options.config import Config, resolve, sizes_of
from experiments.options.programs import SeedsOptions
from experiments.report import document, figures, results
from experiments.report.classes import BLIND, CONDITIONAL, SHARED, classes_table, words
from experiments.report.document import Figure, Section
from experiments.training.train import train

KEY = jax.random.key(9)


NUM_DRAWN = 10  # samples of each class in the figure


@dataclass(frozen=True)
class Options(SeedsOptions):
    """Trains a conditional VAE with a prior for each class and with one for all, and asks both for each class."""

    dataset: str = "digits"
    """Digits, a TFDS name, or the path of your own .npz file, with labels."""
    num_by_class: int = 200
    """Samples of each class that are given to the classifier."""


def make_all(config: Config, data: Dataset) -> dict[str, Made]:
    """Networks that read the label with both priors, and networks that do not with a prior for each class."""
    sizes = sizes_of(config)
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
    draw = lambda key, label: vp.generate(vae, params, key, num, mean=mean, y=label)  # noqa: E731
    return jax.vmap(draw)(jax.random.split(key, num_classes), jnp.arange(num_classes))


def shares_in_class(judge: Judge, images: jax.Array) -> np.ndarray:
    """Share of images [classes, N, height, width] that the feature network puts into their class [classes]."""
    log_p = measures.class_log_probabilities(judge.network, images.reshape(-1, *images.shape[2:]))
    found = jnp.argmax(log_p, axis=1).reshape(images.shape[:2])
    return np.asarray(jnp.mean(found == jnp.arange(len(images))[:, None], axis=1))


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


def measure(trained: Trained, data: Dataset, judge: Judge, num: int) -> list[dict[str, Any]]:
    """One row for each seed."""
    rows = [trained.row(replica) for replica in range(len(trained.seeds))]
    for row, model in zip(rows, map(trained.model, range(len(rows))), strict=True):
        if "failure" in row:
            raise ValueError(f"{trained.name}, seed {model.seed}: {row['failure']}. Lower --learning-rate.")
        shares = shares_in_class(judge, by_class(model.vae, model.params, KEY, judge.network.num_classes, num))
        scores = measures.samples(model, data, judge)
        row["test"] = measures.elbo(model, data) | {"share": float(shares.mean()), "class_kl": class_kl(model, data)}
        row["test"] |= {name: scores["generated"][name] for name in ("fid", "coverage")}
        row |= {"shares": shares.tolist(), "samples": scores}
    return rows


def draw(models: list[Model], data: Dataset, shares: dict[str, np.ndarray], real: np.ndarray, folder: Path) -> list:
    """Draws samples class by class, and the shares [seeds, classes] in the asked class."""
    num = len(real)
    picked = [data.test["x"][data.test["y"] == label][:NUM_DRAWN] for label in range(num)]
    blank = np.zeros((NUM_DRAWN, *data.image_shape), np.float32)
    panels = {"test images": np.concatenate([np.concatenate([x, blank])[:NUM_DRAWN] for x in picked])}
    for one in models:
        means = np.asarray(by_class(one.vae, one.params, KEY, num, NUM_DRAWN, True))
        panels[f"prior {one.prior}"] = means.reshape(-1, *data.image_shape)
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


def main(options: Options) -> dict[str, Any]:
    """Trains both, asks both for each class, and writes the output folder."""
    began = time.perf_counter()
    if options.num_by_class < 1:
        raise ValueError(f"Expected --num-by-class >= 1; got {options.num_by_class}.")
    data = load(options.dataset, data_dir=options.data_dir)
    if data.num_classes is None:
        raise ValueError(f"Expected labels, which are the classes to ask for; {data.name} has none.")
    config = resolve(options.comparison(priors=("conditional",)), data)
    output_dir = results.make_output_dir(options.output_dir, "conditional_generation", options.dataset)
    judge = measures.make_judge(data := take_test(data, config.num_test))
    assert judge is not None  # `resolve` asks for labels
    trained = [train(name, config, data, output_dir, made) for name, made in make_all(config, data).items()]
    rows = [row for one in trained for row in measure(one, data, judge, options.num_by_class)]
    log_p = measures.class_log_probabilities(judge.network, data.test["x"])
    hit = np.asarray(jnp.argmax(log_p, axis=1)) == data.test["y"]
    real = np.array([hit[data.test["y"] == label].mean() for label in range(judge.network.num_classes)])
    shares = {one.name: np.array([row["shares"] for row in rows if row["prior"] == one.name]) for one in trained}
    pictures = draw([one.model(0) for one in trained], data, shares, real, output_dir)
    shares_of_real = real.tolist()
    sections = [
        Section(
            "Does a prior for each class help?", words(rows, shares_of_real), [classes_table(rows, shares_of_real)]
        ),
        Section("Figures", figures=pictures),
    ]
    content = results.describe_run("conditional_generation", options.dataset, asdict(config), began) | {
        "data": data.account,
        "features": measures.describe(judge),
        "rows": rows,
        "real_shares": shares_of_real,
    }
    document.publish(output_dir, content, f"{data.name}: generation by class", sections)
    document.show(sections)
    print(f"Report, figures and results in {output_dir} ({content['seconds']:.0f} s).")
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
