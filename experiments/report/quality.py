"""Do the scores of samples differ by more than the noise between seeds? Tests, as a table and in words."""

from experiments.report import paired
from experiments.report.comparison_tables import SAMPLES
from experiments.report.document import Section, Table
from experiments.report.generation import by_prior
from experiments.report.recommendation import display_name, short_name
from experiments.report.results import Rows


def differences(rows: Rows, baseline: str) -> dict[str, dict[str, paired.Difference]]:
    """For each other prior and each score, the paired difference to the baseline over the seeds that both have."""
    by_prior_and_score: dict[str, dict[str, paired.Difference]] = {}
    for score in SAMPLES:
        scores = by_prior(rows, "samples", score)
        reference = scores.pop(baseline, {})
        for prior, values in scores.items():
            seeds = sorted(set(values) & set(reference))
            if seeds:
                by_prior_and_score.setdefault(prior, {})[score] = paired.compare(
                    [values[seed] for seed in seeds], [reference[seed] for seed in seeds]
                )
    return by_prior_and_score


def verdict(prior: str, baseline: str, by_score: dict[str, paired.Difference]) -> str:
    """A sentence on the FID of a prior beside that of the baseline."""
    fid = by_score["fid"]
    way = "smaller" if fid.mean < 0 else "larger"
    size = (
        "larger than the noise between seeds"
        if fid.clear
        else "within the noise between seeds, so it shows no difference in either direction"
    )
    text = f"The FID of {display_name(prior)} is {way} than that of {display_name(baseline)}: {fid}"
    return f"{text}; of one seed, nothing more can be said." if fid.p_value != fid.p_value else f"{text}, {size}."


def tests(rows: Rows) -> Section:
    """The paired tests against the first prior, in words and as a table."""
    baseline = rows[0]["prior"]
    tested = differences(rows, baseline)
    num_seeds = len({row["seed"] for row in rows if row["test"]})
    cells = []
    for score in SAMPLES:
        title = score.upper() if score in ("fid", "kid") else score
        cells.append([title, *(str(by_score[score]) for by_score in tested.values())])
    num_tests = len(tested) * len(SAMPLES)
    notes = [
        "Mean over seeds of the difference ± its standard error (p-value of the paired t-test). Negative is better for "
        f"FID and KID. Of {num_tests} tests at 5 %, {0.05 * num_tests:.1f} come out clear by chance alone."
    ]
    words = [verdict(prior, baseline, by_score) for prior, by_score in tested.items()]
    title = f"Difference to {short_name(baseline)}, paired by seed"
    tables = [Table(title, ["score", *map(short_name, tested)], cells, notes)] if tested else []
    return Section("Is the difference larger than the noise?", [*words, paired.strength(num_seeds)], tables)
