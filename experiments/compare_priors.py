"""Trains a VAE with each prior on one data set, and compares them: the main job.

python -m experiments.compare_priors
python -m experiments.compare_priors --dataset binarized_mnist --preset paper --priors standard --seeds 1
"""

import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import vaepriors_jax as vp
from experiments import command_line, cost, document, grid, metrics, report
from experiments.comparison import Trained, draw, failures_of, sections_of, summarize
from experiments.data import Dataset, load
from experiments.likelihoods import check_likelihood, is_discrete
from experiments.models import PRIORS, Made, Sizes, make_prior, make_vae
from vaepriors_jax.sharding import make_mesh

PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "epochs": 150,
        "batch_size": 100,
        "learning_rate": 2e-3,
        "latent_dim": 10,
        "hidden": (128, 128),
        "num_components": 50,
        "warmup_epochs": 20,
        "patience": 30,
        "num_samples": 500,
        "annealing": (8, 50, 5),
        "flow_layers": 4,
        "flow_hidden": (64,),
        "pseudo_inputs": "data",
    },
    # Tomczak & Welling (2018), but for plain Adam.
    "paper": {
        "epochs": 2000,
        "batch_size": 100,
        "learning_rate": 5e-4,
        "latent_dim": 40,
        "hidden": (300, 300),
        "num_components": 500,
        "warmup_epochs": 100,
        "patience": 50,
        "num_samples": 5000,
        "annealing": (16, 1000, 10),
        "flow_layers": 4,
        "flow_hidden": (100, 100),
        "pseudo_inputs": "random",
    },
}

MAX_ENCODED = 5000  # examples whose q(z) is evaluated where each density runs a network
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "plain": optax.adam,
    "normalized": lambda learning_rate: optax.chain(vp.normalize_per_tensor(), optax.adam(learning_rate)),
}
AT_LEAST_ONE = ("seeds", "epochs", "batch_size", "latent_dim", "num_components", "num_samples", "patience")
AT_LEAST_ONE += ("hidden", "channels", "likelihood_components")


@dataclass(frozen=True)
class Config:
    """Trains a VAE with each prior on one data set, and compares them.

    Options without a value are those of the preset.
    """

    dataset: str = "digits"
    """The digits are embedded; or any image data set by its TFDS name, such as mnist (see TFDS_DATA_DIR); or the path
    of your own .npz file with `images` and, if you like, `labels`."""
    priors: tuple[Literal["standard", "mixture", "vamp", "flow", "conditional"], ...] | None = None
    """Which priors; by default all five (without labels, all but conditional)."""
    seeds: int = 3
    """How many seeds; they are trained at once."""
    seed: int = 0
    """The first seed."""
    preset: Literal["quick", "paper"] = "quick"
    """Sizes and schedule: a few minutes on digits, or the setting of Tomczak & Welling (2018)."""
    binarization: Literal["dynamic", "static", "threshold", "none"] = "dynamic"
    """How grey images become binary (those that are binary stay as they are); none keeps grey values."""
    likelihood: Literal[
        "bernoulli",
        "discretized_logistic",
        "discretized_logistic_mixture",
        "categorical",
        "binomial",
        "gaussian",
        "gaussian_shared",
        "gaussian_pixel",
        "student_t",
        "continuous_bernoulli",
    ] = "bernoulli"
    """p(x|z): bernoulli for binary images; for grey ones (--binarization none) probabilities of their levels, or, from
    gaussian on, a density."""
    likelihood_components: int = 5
    """Logistics for each pixel in discretized_logistic_mixture."""
    likelihood_scale: float = 0.1
    """Standard deviation of gaussian; gaussian_shared learns one for all pixels, gaussian_pixel one for each."""
    network: Literal["dense", "conv", "resnet"] = "dense"
    """Encoder and decoder: gated dense layers, gated convolutions, or residual convolutions."""
    channels: tuple[int, ...] = (16, 32)
    """Channels of the convolutions, one for each halving of the image."""
    levels: Literal[1, 2] = 1
    """Levels of latents: z is z1 and z2, the prior is on z2, and networks give p(z1|z2) and q(z1|x, z2)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """In what the networks compute; parameters and densities are float32."""
    devices: Literal["one", "all"] = "one"
    """Train on one device, or on all of this machine: replicas are shared out over as many as divide both, and each
    batch over the rest."""
    epochs: int | None = None
    """The most epochs."""
    batch_size: int | None = None
    """Examples a step."""
    learning_rate: float | None = None
    """Learning rate of Adam."""
    gradients: Literal["plain", "normalized"] = "plain"
    """What Adam gets: the gradient, or that of each tensor divided by its norm, as in the paper's code."""
    learning_rates: tuple[float, ...] = ()
    """Several of them, trained at once with all seeds; for each prior the validation ELBO chooses."""
    betas: tuple[float, ...] = (1.0,)
    """Weight of the KL in training, after warm-up; several are a grid with the learning rates. The ELBO that chooses
    has beta = 1."""
    latent_dim: int | None = None
    """Dimension of z, of each level."""
    hidden: tuple[int, ...] | None = None
    """Widths of the gated layers of encoder and decoder."""
    num_components: int | None = None
    """Components of the mixture, and pseudo-inputs of the VampPrior."""
    warmup_epochs: int | None = None
    """Epochs in which the weight of the KL rises to 1; by default those of the preset, or a quarter of a short run."""
    patience: int | None = None
    """Epochs without a better validation ELBO before training stops."""
    num_samples: int | None = None
    """Importance samples S for log p(x)."""
    annealing: tuple[int, int, int] | None = None
    """Chains, temperatures and leapfrog steps of annealed importance sampling: it checks the first seed's log p(x) on
    100 images."""
    flow_layers: int | None = None
    """Coupling layers of the flow prior (two halves each)."""
    flow_hidden: tuple[int, ...] | None = None
    """Widths of the flow's conditioners."""
    pseudo_inputs: Literal["data", "random"] | None = None
    """Start of the VampPrior: training images, or N(0.05, 0.01) as in the paper."""
    num_test: int | None = None
    """Use only this many test images, drawn with a fixed key."""
    data_dir: str | None = None
    """Folder of prepared TFDS data sets; by default TFDS_DATA_DIR."""
    output_dir: str | None = None
    """Where results go; by default a new folder under runs/."""
    refit: tuple[Literal["mixture", "vamp", "flow"], ...] = ()
    """Priors that are fitted afterwards to the aggregated posterior of the standard VAE, as rows of their own."""
    metrics: Literal["likelihood", "all"] = "all"
    """Only log p(x) and the ELBO, or prior holes and the quality of samples as well."""
    checkpoints: bool = False
    """Write checkpoints into the output folder, and go on from those that are there."""


def resolve(config: Config, data: Dataset) -> Config:
    """Fills what the user left open from the preset and the data set, and checks the rest.

    Raises:
        ValueError: a value out of range, or a conditional prior on data without labels.
    """
    preset = {name: value for name, value in PRESETS[config.preset].items() if getattr(config, name) is None}
    config = replace(config, **preset)
    for name in AT_LEAST_ONE:
        value = getattr(config, name)
        if np.size(value) == 0 or np.min(value) < 1:
            raise ValueError(f"Expected --{name.replace('_', '-')} >= 1; got {value}.")
    if (config.epochs or 0) < 2 * preset.get("warmup_epochs", 0):
        config = replace(config, warmup_epochs=(config.epochs or 0) // 4)
        print(
            f"{config.epochs} epochs are few for the preset's warm-up of the KL, which is shortened to "
            f"{config.warmup_epochs}; --warmup-epochs sets it."
        )
    for name in ("learning_rate", "learning_rates", "betas", "likelihood_scale"):
        value = getattr(config, name)
        if not np.all(np.asarray(value) > 0):
            raise ValueError(f"Expected --{name.replace('_', '-')} > 0; got {value}.")
    check_likelihood(config.likelihood, data)
    if config.num_test is not None and not 2 <= config.num_test <= len(data.test["x"]):
        raise ValueError(f"Expected --num-test from 2 to {len(data.test['x'])}; got {config.num_test}.")
    if config.priors and "conditional" in config.priors and data.num_classes is None:
        raise ValueError(
            f"Expected labels for the prior 'conditional'; {data.name} has none. Choose among "
            f"{', '.join(name for name in PRIORS if name != 'conditional')}, or use --dataset mnist."
        )
    if config.levels == 2 and config.metrics == "all" and len(data.train["x"]) > MAX_ENCODED:
        config = replace(config, metrics="likelihood")
        print(
            f"Holes and samples are left out (--metrics likelihood): with two levels q(z) of {len(data.train['x']):,} "
            f"images runs a network for each pair of a point and an image; up to {MAX_ENCODED:,} it is measured."
        )
    if config.refit and config.priors and "standard" not in config.priors:
        raise ValueError("Expected the prior 'standard' among --priors, since --refit refits its VAE; add it.")
    if config.priors is None:
        config = replace(config, priors=PRIORS)
        if data.num_classes is None:
            print(f"{data.name} has no labels: the prior 'conditional' is left out.")
            config = replace(config, priors=tuple(name for name in PRIORS if name != "conditional"))
    return config


def model_folder(prior: str, seed: int) -> str:
    """Where a trained model lies within the output folder."""
    return f"models/{prior.replace(', ', '-').replace(' ', '-')}-seed{seed}"


def sizes_of(config: Config) -> Sizes:
    """The part of the options that makes the models."""
    return Sizes(**{field: getattr(config, field) for field in Sizes._fields})


def annealing_of(config: Config) -> metrics.Annealing:
    """The part of the options that annealed importance sampling takes."""
    return metrics.Annealing(*(config.annealing or PRESETS[config.preset]["annealing"]))


def train(name: str, config: Config, data: Dataset, output_dir: Path, made: Made | None = None) -> Trained:
    """Trains one prior, or a VAE made elsewhere, with all seeds, learning rates and betas as one program.

    Of the learning rates and betas it keeps the best.
    """
    vae, init = made or make_vae(name, sizes_of(config), data)
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    keys = [jax.random.split(jax.random.key(seed)) for seed in seeds]
    settings = grid.settings(config.learning_rates or (config.learning_rate or 0.0,), config.betas or (1.0,))
    starts = [init(key_init) for key_init, _ in keys]
    operations = _announce(name, vae, starts[0], config, data)
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves * len(settings)), *starts)
    of_replicas = {
        field: jnp.repeat(jnp.asarray(values), len(seeds))
        for field, values in zip(grid.Setting._fields, zip(*settings, strict=True), strict=True)
    }
    num_replicas = len(seeds) * len(settings)
    mesh = make_mesh(math.gcd(num_replicas, jax.local_device_count())) if config.devices == "all" else None
    arrays = [part if metrics.reads_label(vae) else {"x": part["x"]} for part in (data.train, data.validation)]
    try:
        result = vp.fit(
            vae,
            params,
            jnp.stack([key_fit for _, key_fit in keys] * len(settings)),
            arrays[0],
            OPTIMIZERS[config.gradients],
            num_epochs=config.epochs or 0,
            batch_size=config.batch_size or 0,
            validation=arrays[1],
            patience=config.patience,
            beta=of_replicas["beta"],
            hyperparameters={"learning_rate": of_replicas["learning_rate"]},
            warmup_epochs=config.warmup_epochs or 0,
            transform=data.transform,
            checkpoint_dir=output_dir / "checkpoints" / name if config.checkpoints else None,
            description=name,
            mesh=mesh,
        )
    except vp.TrainingFailedError as error:
        print(f"{name}: {error}", file=sys.stderr)
        result = error.result  # the other priors go on
    result, rows = grid.choose(result, settings, len(seeds))
    return Trained(name, vae, result, seeds, tuple({"prior": name} | row for row in rows), operations)


def _announce(name: str, vae: vp.VAE, params: vp.VAEParams, config: Config, data: Dataset) -> int:
    """Prints the size of a model and what a step costs, and returns the latter."""
    size, batch_size = sum(leaf.size for leaf in jax.tree.leaves(params)), config.batch_size or 0
    operations = cost.step_operations(vae, params, data, batch_size)
    print(
        f"{name}: {config.network} networks, {size:,} parameters; a training step of {batch_size} images is "
        f"{operations / 1e9:.3g} GFLOP of matrix products for each replica."
    )
    return operations


def refit(name: str, standard: Trained, config: Config, data: Dataset) -> Trained:
    """Gives the trained VAEs with N(0, I) another prior, fitted to their aggregated posteriors."""
    prior = make_prior(name, sizes_of(config), data)
    refitted = []
    for replica, seed in enumerate(tqdm(standard.seeds, desc=f"refit {name}", unit="seed", leave=False)):
        model = standard.model(replica)
        key = jax.random.fold_in(jax.random.key(seed), 1)
        refitted.append(vp.fit_prior(prior, key, model.vae, model.params, data.fixed_train["x"]))
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *refitted)
    vae = standard.vae._replace(prior=prior)
    result = standard.result._replace(params=params)
    return standard._replace(name=f"standard, refit {name}", vae=vae, result=result, grid=())


def rows_of(
    trained: Trained, data: Dataset, config: Config, judging: Future[metrics.Judge | None] | None
) -> list[dict[str, Any]]:
    """One row of results for each seed; without a test where training failed."""
    failed = {failure.replica for failure in trained.result.failures}
    rows = []
    total = len(data.test["x"]) * (len(trained.seeds) - len(failed))
    with tqdm(total=total, unit="image", desc=f"{trained.name}: log p(x)", leave=False) as bar:
        for replica in range(len(trained.seeds)):
            row = trained.row(replica) | {"likelihood": config.likelihood}
            if replica in failed:
                rows.append(row)
                continue
            model = trained.model(replica)
            row["test"] = metrics.likelihood(
                model,
                data,
                config.num_samples or 0,
                bar,
                annealing_of(config) if replica == 0 else None,
                in_bits=is_discrete(config.likelihood),
            )
            if config.metrics == "all":
                row["holes"] = metrics.holes(model, data)
                row["latents"] = metrics.latents(model, data)
            if (judge := judging and judging.result()) is not None:
                row["samples"] = metrics.samples(model, data, judge)
            rows.append(row)
    return rows


def take_test(data: Dataset, num_test: int | None) -> Dataset:
    """The data set with only some of its test images, drawn with a fixed key; all of them for None."""
    if num_test is None:
        return data
    chosen = np.asarray(jax.random.permutation(jax.random.key(5), len(data.test["x"])))[:num_test]
    return data._replace(test={name: array[chosen] for name, array in data.test.items()})


def train_all(config: Config, data: Dataset, output_dir: Path) -> list[Trained]:
    """Trains each prior, refits those wanted, and saves the models."""
    trained: list[Trained] = []
    for name in config.priors or ():
        found = [train(name, config, data, output_dir)]
        if name == "standard":
            found += [refit(other, found[0], config, data) for other in config.refit]
        for one in found:
            for model in map(one.model, range(len(one.seeds))):
                vp.save_model(output_dir / model_folder(one.name, model.seed), model.vae.prior, model.params)
        trained += found
    return trained


def main(config: Config) -> dict[str, Any]:
    """Runs the comparison, prints the table, writes the output folder, and returns the results."""
    began = time.perf_counter()
    data = load(config.dataset, binarization=config.binarization, data_dir=config.data_dir)
    config = resolve(config, data)
    data = take_test(data, config.num_test)
    output_dir = report.make_output_dir(config.output_dir, "compare_priors", config.dataset)
    trained = train_all(config, data, output_dir)
    # Most of the time of a small run is compilation, on one core: two things at a time.
    with ThreadPoolExecutor(max_workers=2 if jax.default_backend() == "cpu" else 1) as threads:
        judging = threads.submit(metrics.make_judge, data) if config.metrics == "all" else None
        measured = [threads.submit(rows_of, one, data, config, judging) for one in trained]
        drawn = threads.submit(draw, trained, data, output_dir, with_holes=config.metrics == "all")
        rows = [row for found in measured for row in found.result()]
        figures = drawn.result()
    if not any(row["test"] for row in rows):
        raise ValueError("No prior could be trained: see the warnings above. Lower --learning-rate.")
    summary = summarize(rows)
    content = report.describe_run("compare_priors", config.dataset, asdict(config), began) | {
        "data": data.account,
        "features": metrics.describe(judging and judging.result()),
        "rows": rows,
        "grid": [row for one in trained if len(one.grid) > 1 for row in one.grid],
        "summary": summary,
    }
    sections = sections_of(summary, content["grid"])
    pictures = document.Section("Figures", failures_of(rows), figures=figures)
    document.publish(output_dir, content, f"Priors compared on {data.name}", [*sections, pictures])
    document.show(sections)
    print(f"Report, results, models and figures in {output_dir} ({content['seconds']:.0f} s).")
    return content


if __name__ == "__main__":
    command_line.run(main, Config)
