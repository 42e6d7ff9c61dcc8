"""Are samples of a mixture prior better than those of N(0, I), and by more than the noise between seeds?

python -m experiments.generation_quality
python -m experiments.generation_quality --dataset mnist --preset paper --priors standard mixture --epochs 20
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from experiments import measures
from experiments.comparison.candidates import train_and_measure
from experiments.data.dataset import Dataset, load, take_test
from experiments.options import command_line
from experiments.options.programs import SeedsOptions
from experiments.options.resolve import resolve
from experiments.options.settings import Settings
from experiments.report import document, results
from experiments.report.comparison import failures_of
from experiments.report.comparison_tables import samples_table
from experiments.report.document import Section
from experiments.report.generation import draw_samples, draw_scores
from experiments.report.quality import differences, tests
from experiments.report.summaries import of_quality
from experiments.runs.folder import open_run, output_folder


@dataclass(frozen=True)
class Options(SeedsOptions):
    """Trains VAEs with each prior over several seeds, and scores their samples."""

    dataset: str = "mnist_5k"
    """mnist_5k, digits, a TFDS name, or the path of your own .npz file, with labels: they train the features that score
    the samples."""
    priors: tuple[str, ...] = ("standard", "mixture")
    """Which priors: standard, mixture, vamp, flow, or your own as module:function; the others are compared with the
    first."""
    refit: tuple[str, ...] = ("mixture",)
    """Priors that are fitted afterwards to the standard VAE; give --refit alone for none."""
    num_components: int | None = None
    """Components of the mixture, and pseudo-inputs of the VampPrior; those of the preset by default."""


def main(options: Options) -> dict[str, Any]:
    """Trains, scores, tests, draws, and writes the output folder."""
    data = load(options.dataset, **options.reading())
    if data.num_classes is None:
        raise ValueError(
            f"Expected labels, which train the features that score samples; {data.name} has none. "
            "Use mnist for binarized_mnist, or experiments.compare_priors for likelihoods and holes."
        )
    config = resolve(options.comparison(), data, conditional=False)
    data = take_test(data, config.num_test)
    folder = output_folder(options.output_dir, "generation_quality", options.dataset)
    with open_run("generation_quality", options, folder):
        return _compare_samples(config, data, folder)


def _compare_samples(config: Settings, data: Dataset, output_dir: Path) -> dict[str, Any]:
    candidates = train_and_measure(config, data, output_dir)
    content = results.describe_run(output_dir, config.dataset, asdict(config)) | {
        "data": data.description,
        "features": measures.describe_features(candidates.scorer and candidates.scorer.network),
        "rows": candidates.rows,
        "summary": candidates.summary,
        "differences": {
            prior: {score: difference._asdict() for score, difference in by_score.items()}
            for prior, by_score in differences(candidates.rows, config.priors[0]).items()
        },
    }
    results.write_json(output_dir / "results.json", content)
    models = [trained.model(0) for trained in candidates.trained]
    pictures = [*draw_samples(models, data, output_dir), draw_scores(candidates.rows, output_dir)]
    tested, short = tests(candidates.rows), of_quality(content)
    words = [*failures_of(candidates.rows), *tested.paragraphs]
    sections = [
        Section(tested.title, words),
        Section("Pictures", figures=pictures),
        Section("Tables", tables=[short], details=[samples_table(candidates.summary), *tested.tables]),
    ]
    shown = [Section("", words), Section("", tables=[short])]
    document.publish(output_dir, content, f"{data.name}: quality of samples", sections, shown)
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
