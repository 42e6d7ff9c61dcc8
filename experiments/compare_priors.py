"""Trains a VAE with each prior on one data set, and compares them: the main job.

python -m experiments.compare_priors
python -m experiments.compare_priors --dataset binarized_mnist --preset paper --priors standard --seeds 1
"""

import math
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import vaepriors_jax as vp
from experiments import command_line, cooldown, cost, document, grid, metrics, report
from experiments.comparison import failures_of, sections_of, summarize
from experiments.comparison_figures import draw
from experiments.config import Config, annealing_of, resolve, sizes_of
from experiments.data import Dataset, load
from experiments.likelihoods import is_discrete
from experiments.models import Made, make_prior, make_vae
from experiments.optimizers import optimizer_factory
from experiments.trained import Trained
from vaepriors_jax.sharding import make_mesh


def model_folder(prior: str, seed: int) -> str:
    """Where a trained model lies within the output folder."""
    return f"models/{prior.replace(', ', '-').replace(' ', '-')}-seed{seed}"


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
    folder = output_dir / "checkpoints" if config.checkpoints else None
    fit_options: dict[str, Any] = {
        "data": arrays[0],
        "optimizer": optimizer_factory(config.gradients, config.prior_learning_rate_factor),
        "batch_size": config.batch_size or 0,
        "validation": arrays[1],
        "beta": of_replicas["beta"],
        "transform": data.transform,
        "mesh": mesh,
    }
    rates, fit_keys = of_replicas["learning_rate"], jnp.stack([key_fit for _, key_fit in keys] * len(settings))
    try:
        result = vp.fit(
            vae,
            params,
            fit_keys,
            num_epochs=config.epochs or 0,
            patience=config.patience,
            hyperparameters={"learning_rate": rates},
            warmup_epochs=config.warmup_epochs or 0,
            checkpoint_dir=folder and folder / name,
            description=name,
            **fit_options,
        )
        if config.cooldown_epochs:
            result = cooldown.cool(
                result,
                vae,
                fit_keys,
                num_epochs=config.cooldown_epochs,
                learning_rates=rates,
                checkpoint_dir=folder and folder / f"{name}-cooldown",
                description=f"{name}, cooldown",
                **fit_options,
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
