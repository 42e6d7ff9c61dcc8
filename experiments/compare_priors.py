"""Trains a VAE with each prior on one data set, and compares them: the main job.

    python -m experiments.compare_priors
    python -m experiments.compare_priors --dataset binarized_mnist --preset paper --priors standard --seeds 1
"""

import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from tqdm import tqdm

import vaepriors_jax as vp
from experiments import figures, report
from experiments.data import Dataset, load
from experiments.models import PRIORS, Sizes, make_vae

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
        "flow_layers": 4,
        "flow_hidden": (100, 100),
        "pseudo_inputs": "random",
    },
}


@dataclass(frozen=True)
class Config:
    """Trains a VAE with each prior on one data set, and compares them.

    Options without a value are those of the preset.
    """

    dataset: Literal["digits", "mnist", "fashion_mnist", "binarized_mnist"] = "digits"
    """Digits are embedded; the others are read from TFDS (see TFDS_DATA_DIR)."""
    priors: tuple[Literal["standard", "mixture", "vamp", "flow", "conditional"], ...] | None = None
    """Which priors; by default all five (without labels, all but conditional)."""
    seeds: int = 3
    """How many seeds; they are trained at once."""
    seed: int = 0
    """The first seed."""
    preset: Literal["quick", "paper"] = "quick"
    """Sizes and schedule: a few minutes on digits, or the setting of Tomczak & Welling (2018)."""
    binarization: Literal["dynamic", "static", "threshold"] = "dynamic"
    """How grey images become binary (binarized_mnist is binary)."""
    epochs: int | None = None
    """The most epochs."""
    batch_size: int | None = None
    """Examples a step."""
    learning_rate: float | None = None
    """Learning rate of Adam."""
    latent_dim: int | None = None
    """Dimension of z."""
    hidden: tuple[int, ...] | None = None
    """Widths of the gated layers of encoder and decoder."""
    num_components: int | None = None
    """Components of the mixture, and pseudo-inputs of the VampPrior."""
    warmup_epochs: int | None = None
    """Epochs in which the weight of the KL rises to 1."""
    patience: int | None = None
    """Epochs without a better validation ELBO before training stops."""
    num_samples: int | None = None
    """Importance samples S for log p(x)."""
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
    checkpoints: bool = False
    """Write checkpoints into the output folder, and go on from those that are there."""


def resolve(config: Config, data: Dataset) -> Config:
    """Fills what the user left open from the preset and the data set, and checks the rest.

    Raises:
        ValueError: a value out of range, or a conditional prior on data without labels.
    """
    preset = {name: value for name, value in PRESETS[config.preset].items() if getattr(config, name) is None}
    config = replace(config, **preset)
    for name in ("seeds", "epochs", "batch_size", "latent_dim", "num_components", "num_samples", "patience"):
        if getattr(config, name) < 1:
            raise ValueError(f"Expected --{name.replace('_', '-')} >= 1; got {getattr(config, name)}.")
    if not config.learning_rate or config.learning_rate <= 0:
        raise ValueError(f"Expected --learning-rate > 0; got {config.learning_rate}.")
    if config.num_test is not None and not 2 <= config.num_test <= len(data.test["x"]):
        raise ValueError(f"Expected --num-test from 2 to {len(data.test['x'])}; got {config.num_test}.")
    if config.priors and "conditional" in config.priors and data.num_classes is None:
        raise ValueError(
            f"Expected labels for the prior 'conditional'; {data.name} has none. Choose among "
            f"{', '.join(name for name in PRIORS if name != 'conditional')}, or use --dataset mnist."
        )
    if config.priors is None:
        config = replace(config, priors=PRIORS)
        if data.num_classes is None:
            print(f"{data.name} has no labels: the prior 'conditional' is left out.")
            config = replace(config, priors=tuple(name for name in PRIORS if name != "conditional"))
    return config


class Trained(NamedTuple):
    """One prior, trained with all seeds."""

    name: str
    vae: vp.VAE
    result: vp.FitResult
    seeds: tuple[int, ...]

    def params(self, replica: int) -> vp.VAEParams:
        """Parameters of one seed."""
        return jax.tree.map(lambda leaf: leaf[replica], self.result.params)


def train(name: str, config: Config, data: Dataset, output_dir: Path) -> Trained:
    """Trains one prior with all seeds as one program."""
    sizes = Sizes(**{field: getattr(config, field) for field in Sizes._fields})
    vae, init = make_vae(name, sizes, data)
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    keys = [jax.random.split(jax.random.key(seed)) for seed in seeds]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[init(key_init) for key_init, _ in keys])
    conditional = name == "conditional"
    arrays = [part if conditional else {"x": part["x"]} for part in (data.train, data.validation)]
    result = vp.fit(
        vae,
        params,
        jnp.stack([key_fit for _, key_fit in keys]),
        arrays[0],
        optax.adam(config.learning_rate or 0.0),
        num_epochs=config.epochs or 0,
        batch_size=config.batch_size or 0,
        validation=arrays[1],
        patience=config.patience,
        warmup_epochs=config.warmup_epochs or 0,
        transform=data.transform,
        checkpoint_dir=output_dir / "checkpoints" / name if config.checkpoints else None,
        description=name,
    )
    return Trained(name, vae, result, seeds)


def test_log_marginal(
    trained: Trained, replica: int, data: Dataset, num_samples: int, bar: tqdm
) -> tuple[vp.LogMarginal, vp.LogMarginal | None]:
    """log p(x) on the test images, in slices that move the bar; for a conditional model log p(x|y) too."""
    params, key = trained.params(replica), jax.random.fold_in(jax.random.key(2), replica)
    x, y = data.test["x"], data.test.get("y")
    parts: list[Any] = []
    given_parts: list[Any] = []
    conditional = trained.name == "conditional"
    slice_size = max(1, len(x) // (20 if len(x) >= 2000 else 1))
    for start in range(0, len(x), slice_size):
        key_slice = jax.random.fold_in(key, start)
        rows = slice(start, start + slice_size)
        arguments: Any = (trained.vae, params, key_slice, x[rows])
        if conditional:
            assert y is not None and data.num_classes is not None
            counts = np.bincount(data.train["y"], minlength=data.num_classes)
            probabilities = counts / counts.sum()
            given_parts.append(vp.log_marginal(*arguments, y=y[rows], num_samples=num_samples).values)
            parts.append(
                vp.log_marginal_over_classes(
                    *arguments, class_probabilities=probabilities, num_samples=num_samples
                ).values
            )
        else:
            parts.append(vp.log_marginal(*arguments, num_samples=num_samples).values)
        bar.update(len(x[rows]))
    return _joined(parts), _joined(given_parts) if conditional else None


def _joined(parts: list[Any]) -> Any:
    values = np.concatenate([np.asarray(part) for part in parts])
    return values


def evaluate(trained: Trained, replica: int, data: Dataset, num_samples: int, bar: tqdm) -> dict[str, Any]:
    """The test metrics of one seed, in nats."""
    params = trained.params(replica)
    context = {"y": data.test["y"]} if trained.name == "conditional" else {}
    values, given = test_log_marginal(trained, replica, data, num_samples, bar)
    terms = vp.evaluate_elbo(trained.vae, params, jax.random.key(3), data.test["x"], **context)
    active = vp.active_units(trained.vae, params, data.test["x"], **context)
    metrics = {"log_marginal": values, "elbo": terms.elbo, "reconstruction": terms.reconstruction, "kl": terms.kl}
    test = {name: float(np.mean(value)) for name, value in metrics.items()}
    test["log_marginal_standard_error"] = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    test["active_units"] = int(active.sum())
    if given is not None:
        test["log_marginal_given_label"] = float(np.mean(given))
        test["log_marginal_given_label_standard_error"] = float(np.std(given, ddof=1) / np.sqrt(len(given)))
    return test


def rows_of(trained: Trained, data: Dataset, config: Config) -> list[dict[str, Any]]:
    """One row of results for each seed that was trained to the end."""
    failed = {failure.replica: failure for failure in trained.result.failures}
    num_parameters = sum(leaf.size for leaf in jax.tree.leaves(trained.params(0)))
    rows = []
    total = len(data.test["x"]) * (len(trained.seeds) - len(failed))
    with tqdm(total=total, unit="image", desc=f"{trained.name}: log p(x)", leave=False) as bar:
        for replica, seed in enumerate(trained.seeds):
            row = {
                "prior": trained.name,
                "seed": seed,
                "num_parameters": num_parameters,
                "best_epoch": int(trained.result.best_epoch[replica]),
                "seconds_per_epoch": trained.result.seconds_per_epoch,
                "replicas_at_once": len(trained.seeds),
            }
            if replica in failed:
                rows.append(row | {"failure": str(failed[replica]), "test": None})
                continue
            rows.append(row | {"test": evaluate(trained, replica, data, config.num_samples or 0, bar)})
    return rows


METRICS = ("log_marginal", "log_marginal_given_label", "elbo", "reconstruction", "kl", "active_units")


def summarize(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard error over seeds, for each prior."""
    summary = []
    for prior in dict.fromkeys(row["prior"] for row in rows):
        of_prior = [row for row in rows if row["prior"] == prior]
        tests = [row["test"] for row in of_prior if row["test"]]
        entry: dict[str, Any] = {"prior": prior, "num_seeds": len(tests)}
        entry |= {name: of_prior[0][name] for name in ("num_parameters", "seconds_per_epoch", "replicas_at_once")}
        for name in METRICS:
            values = [test[name] for test in tests if name in test]
            if values:
                entry[name] = dict(zip(("mean", "standard_error"), report.mean_and_error(values), strict=True))
        summary.append(entry)
    return summary


def table(summary: list[dict[str, Any]]) -> tuple[list[str], list[list[str]], list[str]]:
    """Header, rows and notes of the table."""
    conditional = any("log_marginal_given_label" in entry for entry in summary)
    header = ["prior", "log p(x)", *(["log p(x|y)"] if conditional else [])]
    header += ["ELBO", "reconstruction", "KL", "active units", "parameters", "s / epoch"]
    rows = []
    for entry in summary:
        given = "log_marginal_given_label" in entry
        row = [entry["prior"], report.format_mean(entry.get("log_marginal"))]
        row += [report.format_mean(entry.get("log_marginal_given_label"))] if conditional else []
        row += [report.format_mean(entry.get("elbo")) + (" *" if given else "")]
        row += [report.format_mean(entry.get(name)) for name in ("reconstruction", "kl")]
        row += [report.format_mean(entry.get("active_units"), 1), f"{entry['num_parameters']:,}"]
        rows.append([*row, f"{entry['seconds_per_epoch']:.3f}"])
    replicas = summary[0]["replicas_at_once"]
    notes = [
        "In nats per test image, larger is better; ± is the standard error over seeds. log p(x) is importance-weighted.",
        f"s / epoch: all {replicas} replicas together (compilation apart)."
        if replicas > 1
        else "s / epoch: one replica.",
    ]
    if conditional:
        notes.append("* ELBO, reconstruction and KL of `conditional` are given the label: a bound of log p(x|y).")
    return header, rows, notes


def draw(trained: list[Trained], data: Dataset, output_dir: Path) -> list[str]:
    """Draws the figures, of the first seed of each prior, and returns their names."""
    num, columns = 36, 6
    x = data.test["x"][:num]
    samples: dict[str, np.ndarray] = {"test images": x}
    reconstructions: dict[str, np.ndarray] = {}
    names = ["samples.png", "reconstructions.png", "training_curves.png"]
    key = jax.random.key(4)
    for one in trained:
        params = one.params(0)
        context: Any = {"y": jnp.asarray(data.test["y"][:num])} if one.name == "conditional" else {}
        if context:
            generate = lambda key, y: vp.generate(one.vae, params, key, 1, y=y)[0]  # noqa: B023, E731
            samples[f"{one.name} (labels of the test images)"] = np.asarray(
                jax.vmap(generate)(jax.random.split(key, num), context["y"])
            )
        else:
            samples[one.name] = np.asarray(vp.generate(one.vae, params, key, num))

        def reconstruct(x: jax.Array, context: Any) -> jax.Array:
            z = one.vae.posterior(params, x, **context).mean()  # noqa: B023
            return one.vae.likelihood(params, z, **context).mean()  # noqa: B023

        images = np.asarray(jax.vmap(reconstruct)(jnp.asarray(x), context))
        reconstructions[one.name] = figures.interleave(x[:24], images[:24], 8)
    figures.image_panels(
        output_dir / names[0], samples, num_columns=columns, title=f"{data.name}: means of p(x|z), z from each prior"
    )
    figures.image_panels(
        output_dir / names[1],
        reconstructions,
        num_columns=8,
        title=f"{data.name}: test images, and below each its reconstruction (mean of q to mean of p)",
    )
    curves = {one.name: (one.result.history["elbo"], one.result.history["validation_elbo"]) for one in trained}
    figures.training_curves(output_dir / names[2], curves, title=f"{data.name}: ELBO by epoch, one line a seed")
    for one in trained:
        if one.name == "vamp":
            inputs = np.asarray(vp.pseudo_inputs(one.vae.prior, one.params(0).prior))[:50]
            figures.image_panels(
                output_dir / "pseudo_inputs.png",
                {f"{len(inputs)} pseudo-inputs": inputs, "training images": data.train["x"][: len(inputs)]},
                num_columns=10,
                title=f"{data.name}: learned pseudo-inputs of the VampPrior beside training images",
            )
            names.append("pseudo_inputs.png")
    return names


def write_report(output_dir: Path, content: dict[str, Any], figure_names: list[str]) -> None:
    """Writes report.md: the table, the figures, and how they were made."""
    header, rows, notes = table(content["summary"])
    failures = [f"- {row['prior']}, seed {row['seed']}: {row['failure']}" for row in content["rows"] if not row["test"]]
    lines = [f"# Priors compared on {content['dataset']}", "", report.markdown_table(header, rows), ""]
    lines += [f"{note}  " for note in notes] + [""]
    if failures:
        lines += ["Seeds that were frozen, and are not in the table:", "", *failures, ""]
    for name in figure_names:
        lines += [f"![{Path(name).stem.replace('_', ' ')}]({name})", ""]
    lines += ["## How it was made", "", f"    {content['command']}", ""]
    for part in ("config", "hardware", "versions"):
        lines += [f"- {part}: " + ", ".join(f"{name}={value}" for name, value in content[part].items())]
    lines += [f"- seconds in all: {content['seconds']:.0f}", ""]
    (output_dir / "report.md").write_text("\n".join(lines))


def main(config: Config) -> dict[str, Any]:
    """Runs the comparison, prints the table, writes the output folder, and returns the results."""
    began = time.perf_counter()
    data = load(config.dataset, binarization=config.binarization, data_dir=config.data_dir)
    config = resolve(config, data)
    if config.num_test is not None:
        chosen = np.asarray(jax.random.permutation(jax.random.key(5), len(data.test["x"])))[: config.num_test]
        data = data._replace(test={name: array[chosen] for name, array in data.test.items()})
    output_dir = report.make_output_dir(config.output_dir, "compare_priors", config.dataset)
    trained, rows = [], []
    for name in config.priors or ():
        one = train(name, config, data, output_dir)
        trained.append(one)
        rows += rows_of(one, data, config)
        for replica, seed in enumerate(one.seeds):
            vp.save_model(output_dir / "models" / f"{name}-seed{seed}", one.vae.prior, one.params(replica))
    summary = summarize(rows)
    content = {
        "experiment": "compare_priors",
        "dataset": config.dataset,
        "command": "python -m experiments.compare_priors " + " ".join(sys.argv[1:]),
        "config": asdict(config),
        "hardware": report.hardware(),
        "versions": report.versions(),
        "rows": rows,
        "summary": summary,
        "seconds": time.perf_counter() - began,
    }
    report.write_json(output_dir / "results.json", content)
    write_report(output_dir, content, draw(trained, data, output_dir))
    header, cells, notes = table(summary)
    report.print_table(f"{config.dataset}: {len(data.test['x'])} test images", header, cells, notes)
    print(f"Results, models and figures in {output_dir} ({content['seconds']:.0f} s).")
    return content


def run() -> None:
    """Reads the command line; a user's mistake ends in one clear line."""
    config = tyro.cli(Config)
    try:
        main(config)
    except (ValueError, FileNotFoundError, vp.TrainingFailedError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    run()
