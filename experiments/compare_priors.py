"""Trains a VAE with each prior on one data set, and compares them: the main job.

python -m experiments.compare_priors
python -m experiments.compare_priors --dataset binarized_mnist --preset paper --priors standard --seeds 1
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import jax
from tqdm import tqdm

from experiments import measures
from experiments.data.dataset import Dataset, load, take_test
from experiments.models.likelihoods import is_discrete
from experiments.models.trained import Trained
from experiments.options import command_line
from experiments.options.config import Config, annealing_of, resolve
from experiments.report import document, results
from experiments.report.comparison import failures_of, sections_of, summarize
from experiments.report.comparison_figures import draw
from experiments.training.train import train_all


def rows_of(
    trained: Trained, data: Dataset, config: Config, judging: Future[measures.Judge | None] | None
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
            row["test"] = measures.likelihood(
                model,
                data,
                config.num_samples or 0,
                bar,
                annealing_of(config) if replica == 0 else None,
                in_bits=is_discrete(config.likelihood),
            )
            if config.metrics == "all":
                row["holes"] = measures.holes(model, data)
                row["latents"] = measures.latents(model, data)
            if (judge := judging and judging.result()) is not None:
                row["samples"] = measures.samples(model, data, judge)
            rows.append(row)
    return rows


def main(config: Config) -> dict[str, Any]:
    """Runs the comparison, prints the table, writes the output folder, and returns the results."""
    began = time.perf_counter()
    data = load(config.dataset, binarization=config.binarization, data_dir=config.data_dir)
    config = resolve(config, data)
    data = take_test(data, config.num_test)
    output_dir = results.make_output_dir(config.output_dir, "compare_priors", config.dataset)
    trained = train_all(config, data, output_dir)
    # Most of the time of a small run is compilation, on one core: two things at a time.
    with ThreadPoolExecutor(max_workers=2 if jax.default_backend() == "cpu" else 1) as threads:
        judging = threads.submit(measures.make_judge, data) if config.metrics == "all" else None
        measured = [threads.submit(rows_of, one, data, config, judging) for one in trained]
        drawn = threads.submit(draw, trained, data, output_dir, with_holes=config.metrics == "all")
        rows = [row for found in measured for row in found.result()]
        figures = drawn.result()
    if not any(row["test"] for row in rows):
        raise ValueError("No prior could be trained: see the warnings above. Lower --learning-rate.")
    summary = summarize(rows)
    content = results.describe_run("compare_priors", config.dataset, asdict(config), began) | {
        "data": data.account,
        "features": measures.describe(judging and judging.result()),
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
