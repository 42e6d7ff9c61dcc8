"""The comparison of priors that `compare_priors` and the published settings run."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments import measures
from experiments.comparison.candidates import make_threads, measure_all
from experiments.data.dataset import Dataset, load, take_test
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.options.settings import Settings
from experiments.report import document, results
from experiments.report.answer import answer
from experiments.report.comparison import sections_of, summarize
from experiments.report.comparison_figures import draw
from experiments.report.latent_space import check_projection
from experiments.runs.folder import open_run, output_folder
from experiments.training.train import train_all


def compare(options: Config) -> dict[str, Any]:
    """Trains, measures and draws each prior, prints the tables, writes the output folder, and returns the results."""
    data = load(options.dataset, binarization=options.binarization, data_dir=options.data_dir, grey=options.grey)
    check_projection(options.projection)
    config = resolve(options, data)
    data = take_test(data, config.num_test)
    folder = output_folder(options.output_dir, "compare_priors", config.dataset)
    with open_run("compare_priors", options, folder):
        return _compare(config, data, folder)


def _compare(config: Settings, data: Dataset, output_dir: Path) -> dict[str, Any]:
    trained = train_all(config, data, output_dir)
    everything = config.metrics == "all"
    with make_threads() as threads:
        scorer_made = threads.submit(measures.make_sample_scorer, data) if everything else None
        pictured = {"with_holes": everything, "projection": config.projection}
        figures_drawn = threads.submit(draw, trained, data, output_dir, **pictured)
        scorer = None if scorer_made is None else scorer_made.result()
        parts = measures.ALL if everything else measures.LIKELIHOOD
        rows = measure_all(threads, trained, data, config.evaluation(scorer), parts, output_dir)
        rows = [row | {"likelihood": config.likelihood} for row in rows]
        summary, answered = summarize(rows), answer(rows, output_dir)
        content = results.describe_run(output_dir, config.dataset, asdict(config)) | {
            "data": data.description,
            "features": measures.describe_features(scorer and scorer.network),
            "rows": rows,
            "grid": [setting for prior in trained if len(prior.grid) > 1 for setting in prior.grid],
            "summary": summary,
            "answer": answered.words,
            "differences": {
                measure: {prior: one._asdict() for prior, one in by_prior.items()}
                for measure, by_prior in answered.differences.items()
            },
        }
        results.write_json(output_dir / "results.json", content)
        figures = figures_drawn.result()
    sections, shown = sections_of(rows, summary, answered, figures, content["grid"])
    document.publish(output_dir, content, f"Priors compared on {data.name}", sections, shown)
    return content
