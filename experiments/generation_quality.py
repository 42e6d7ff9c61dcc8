"""Exercise 2: are samples of a mixture prior better than those of N(0, I), and by more than the noise between seeds?

python -m experiments.generation_quality
python -m experiments.generation_quality --dataset mnist --preset paper --priors standard mixture --epochs 20
"""

import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

from experiments import command_line, compare_priors, document, generation, metrics, paired, report
from experiments.comparison import failures_of
from experiments.comparison_tables import SAMPLES, samples_table
from experiments.config import resolve
from experiments.data import load
from experiments.document import Section, Table
from experiments.options import SeedsOptions

Prior = Literal["standard", "mixture", "vamp", "flow"]


@dataclass(frozen=True)
class Options(SeedsOptions):
    """Trains VAEs with each prior over several seeds, and scores their samples."""

    dataset: str = "digits"
    """Digits, a TFDS name, or the path of your own .npz file, with labels: they train the features that score the
    samples."""
    priors: tuple[Prior, ...] = ("standard", "mixture")
    """Which priors; the first is the one that the others are held against."""
    refit: tuple[Literal["mixture", "vamp", "flow"], ...] = ("mixture",)
    """Priors that are fitted afterwards to the standard VAE; give --refit alone for none."""
    num_components: int | None = None
    """Components of the mixture, and pseudo-inputs of the VampPrior; those of the preset by default."""


def differences(rows: generation.Rows, baseline: str) -> dict[str, dict[str, paired.Difference]]:
    """For each other prior and each score, the paired difference to the baseline over the seeds that both have."""
    found: dict[str, dict[str, paired.Difference]] = {}
    for score in SAMPLES:
        scores = generation.by_prior(rows, "samples", score)
        reference = scores.pop(baseline, {})
        for prior, values in scores.items():
            seeds = sorted(set(values) & set(reference))
            if seeds:
                found.setdefault(prior, {})[score] = paired.compare(
                    [values[seed] for seed in seeds], [reference[seed] for seed in seeds]
                )
    return found


def verdict(prior: str, baseline: str, by_score: dict[str, paired.Difference]) -> str:
    """One sentence on the FID of a prior beside that of the baseline."""
    fid = by_score["fid"]
    way = "smaller" if fid.mean < 0 else "larger"
    size = (
        "larger than the noise between seeds"
        if fid.clear
        else "within the noise between seeds: it shows no difference in either direction"
    )
    text = f"The FID of {prior} is {way} than that of {baseline} ({fid})"
    return f"{text}; of one seed, nothing more can be said." if fid.p_value != fid.p_value else f"{text}, {size}."


def tests(rows: generation.Rows) -> Section:
    """The paired tests against the first prior, in words and as a table."""
    baseline = rows[0]["prior"]
    found = differences(rows, baseline)
    num_seeds = len({row["seed"] for row in rows if row["test"]})
    title_of = lambda score: score.upper() if len(score) == 3 else score  # noqa: E731
    cells = [[title_of(score), *(str(by_score[score]) for by_score in found.values())] for score in SAMPLES]
    num_tests = len(found) * len(SAMPLES)
    notes = [
        "Mean over seeds of the difference ± its standard error (p-value of the paired t-test). Negative is better for "
        f"FID and KID. Of {num_tests} tests at 5 %, {0.05 * num_tests:.1f} come out clear by chance alone."
    ]
    words = [verdict(prior, baseline, by_score) for prior, by_score in found.items()]
    tables = [Table(f"Difference to {baseline}, paired by seed", ["score", *found], cells, notes)] if found else []
    return Section("Is the difference larger than the noise?", [*words, paired.strength(num_seeds)], tables)


def main(options: Options) -> dict[str, Any]:
    """Trains, scores, tests, draws, and writes the output folder."""
    began = time.perf_counter()
    data = load(options.dataset, data_dir=options.data_dir)
    if data.num_classes is None:
        raise ValueError(
            f"Expected labels, which train the features that score samples; {data.name} has none. "
            "Use mnist for binarized_mnist, or experiments.compare_priors for likelihoods and holes."
        )
    config = resolve(options.comparison(), data)
    data = compare_priors.take_test(data, config.num_test)
    output_dir = report.make_output_dir(options.output_dir, "generation_quality", options.dataset)
    found = generation.train_and_measure(config, data, output_dir)
    models = [one.model(0) for one in found.trained]
    pictures = [*generation.draw_samples(models, data, output_dir), generation.draw_scores(found.rows, output_dir)]
    sections = [
        Section("Scores", failures_of(found.rows), [samples_table(found.summary)]),
        tests(found.rows),
        Section("Figures", figures=pictures),
    ]
    content = report.describe_run("generation_quality", options.dataset, asdict(config), began) | {
        "data": data.account,
        "features": metrics.describe(found.judge),
        "rows": found.rows,
        "summary": found.summary,
        "differences": {
            prior: {score: one._asdict() for score, one in by_score.items()}
            for prior, by_score in differences(found.rows, options.priors[0]).items()
        },
    }
    document.publish(output_dir, content, f"{data.name}: quality of samples", sections)
    document.show(sections)
    print(f"Report, figures, models and results in {output_dir} ({content['seconds']:.0f} s).")
    return content


if __name__ == "__main__":
    command_line.run(main, Options)
