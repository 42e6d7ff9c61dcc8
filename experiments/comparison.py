"""What a comparison of priors shows: the table over seeds, the figures and report.md."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments import figures, report
from experiments.data import Dataset


class Trained(NamedTuple):
    """One prior, trained with all seeds."""

    name: str
    vae: vp.VAE
    result: vp.FitResult
    seeds: tuple[int, ...]

    def params(self, replica: int) -> vp.VAEParams:
        """Parameters of one seed."""
        return jax.tree.map(lambda leaf: leaf[replica], self.result.params)


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
        "In nats per test image, larger is better; ± is the standard error over seeds. log p(x): importance-weighted.",
        f"s / epoch: all {replicas} replicas together (compilation apart)."
        if replicas > 1
        else "s / epoch: one replica.",
    ]
    if conditional:
        notes.append("* ELBO, reconstruction and KL of `conditional` are given the label: a bound of log p(x|y).")
    return header, rows, notes


def _generate_one(vae: vp.VAE, params: vp.VAEParams, key: jax.Array, context: Any) -> jax.Array:
    return vp.generate(vae, params, key, 1, **context)[0]


def _reconstruct_one(vae: vp.VAE, params: vp.VAEParams, x: jax.Array, context: Any) -> jax.Array:
    z = vae.posterior(params, x, **context).mean()
    return vae.likelihood(params, z, **context).mean()


def draw(trained: list[Trained], data: Dataset, output_dir: Path) -> list[str]:
    """Draws the figures, of the first seed of each prior, and returns their names."""
    num, columns = min(36, len(data.test["x"])), 6
    x = data.test["x"][:num]
    samples: dict[str, np.ndarray] = {"test images": x}
    reconstructions: dict[str, np.ndarray] = {}
    names = ["samples.png", "reconstructions.png", "training_curves.png"]
    key = jax.random.key(4)
    for one in trained:
        params = one.params(0)
        context: Any = {"y": jnp.asarray(data.test["y"][:num])} if one.name == "conditional" else {}
        generated = jax.vmap(partial(_generate_one, one.vae, params))(jax.random.split(key, num), context)
        samples[one.name + (" (labels of the test images)" if context else "")] = np.asarray(generated)
        images = np.asarray(jax.vmap(partial(_reconstruct_one, one.vae, params))(jnp.asarray(x), context))
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
