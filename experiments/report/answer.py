"""The answer of a comparison of priors in words: which is better, by how much, and how sure that is."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.measures.holes import few_encodings_note
from experiments.measures.likelihood import kept_log_marginals
from experiments.report import fewer_images
from experiments.report.fewer_images import NUM_IMAGES, NUM_SAMPLES
from experiments.report.normalizers import BIAS, ERROR, error_and_bias
from experiments.report.paired import LEVEL, Difference
from experiments.report.recommendation import STANDARD, display_name
from experiments.report.results import Rows
from experiments.report.two_way import Scores, difference, is_clear

BETTER, WORSE = "▲", "▼"
SIGNS = {"log_marginal": 1, "fid": -1, "divergence": -1}  # which sign of a difference is better


class Answer(NamedTuple):
    """The answer of a comparison.

    Attributes:
        words: a paragraph.
        differences: by measure and prior, its difference to the baseline.
        marks: by measure and prior, whether it is better or worse than the baseline beyond the noise.
    """

    words: str
    differences: dict[str, dict[str, Difference]]
    marks: dict[str, dict[str, str]]


def answer(rows: Rows, folder: Path) -> Answer:
    """The answer from the rows of results.json, and from log p(x) of each test image, which the folder keeps."""
    scores = scores_of(rows, folder)
    names = list(dict.fromkeys(row["prior"] for row in rows if row["test"]))
    baseline = STANDARD if STANDARD in names else names[0]
    differences, marks = {}, {}
    for measure, by_prior in scores.items():
        if baseline in by_prior:
            others = [name for name in by_prior if name != baseline]
            tested = {name: difference(by_prior, name, baseline) for name in others}
            differences[measure] = tested
            marks[measure] = {name: _mark(one, SIGNS[measure], len(others)) for name, one in tested.items()}
    sentences = [
        _likelihood(scores, baseline),
        _fewer(rows, scores, baseline),
        _normalizers(rows),
        _samples(scores, baseline),
        _hole(rows, scores, baseline),
        _certainty(_known(scores)),
    ]
    return Answer(" ".join(sentence for sentence in sentences if sentence), differences, marks)


def scores_of(rows: Rows, folder: Path) -> dict[str, Scores]:
    """The scores of each prior for the seeds that all have: log p(x) by image, FID and divergence by seed.

    NaN stands at images whose log p(x) was not estimated, and at all where it is no number at one that was.
    """
    trained = [row for row in rows if row["test"]]
    seeds_of = {row["prior"]: set() for row in trained}
    for row in trained:
        seeds_of[row["prior"]].add(row["seed"])
    seeds = sorted(set.intersection(*seeds_of.values()))
    of = {(row["prior"], row["seed"]): row for row in trained}

    def images(row: dict[str, Any]) -> np.ndarray | None:
        kept = kept_log_marginals(folder, row["prior"], row["seed"])
        if kept is None:  # means over different images cannot be compared
            mean = row["test"].get("log_marginal")
            return None if mean is None else np.array([np.nan if NUM_IMAGES in row["test"] else mean])
        is_complete = np.sum(~np.isnan(kept)) >= row["test"].get(NUM_IMAGES, len(kept))
        return kept if is_complete else np.full(len(kept), np.nan)

    def number(part: dict[str, Any], name: str) -> np.ndarray | None:
        return np.array([part[name]]) if name in part else None

    read = {
        "log_marginal": images,
        "fid": lambda row: number(row.get("samples", {}).get("generated", {}), "fid"),
        "divergence": lambda row: number(row.get("holes", {}), "divergence"),
    }
    scores: dict[str, Scores] = {}
    for measure, value in read.items():
        found = {prior: [value(of[prior, seed]) for seed in seeds] for prior in seeds_of}
        lengths = {None if one is None else len(one) for values in found.values() for one in values}
        if len(lengths) > 1 and None not in lengths:  # some were measured before these were kept by image
            found = {prior: [one.mean(keepdims=True) for one in values] for prior, values in found.items()}
        if seeds and None not in lengths:
            scores[measure] = {prior: np.asarray(values, np.float64) for prior, values in found.items()}
    return scores


def _mark(tested: Difference, sign: int, num_tests: int) -> str:
    if not is_clear(tested, num_tests):
        return ""
    return BETTER if sign * tested.mean > 0 else WORSE


def _listed(names: Iterable[str]) -> str:
    *most, last = map(display_name, names)
    return f"{', '.join(most)} and {last}" if most else last


def _by(tested: Difference, digits: int = 2) -> str:
    if np.isnan(tested.p_value):
        return f"{abs(tested.mean):.{digits}f}"
    return f"{abs(tested.mean):.{digits}f} ± {tested.standard_error:.{digits}f}"


def _p(tested: Difference) -> str:
    return "" if np.isnan(tested.p_value) else f" ({tested.p_text})"


def _likelihood(scores: Mapping[str, Scores], baseline: str) -> str:
    """Sentences on log p(x)."""
    by_prior = _known(scores)
    if baseline not in by_prior:
        return ""
    means = {name: float(np.nanmean(values)) for name, values in by_prior.items()}
    base = display_name(baseline)
    others = [name for name in by_prior if name != baseline]
    if not others:
        return f"With {base}, log p(x) of the test images is {means[baseline]:.2f} nats; no other prior was compared."
    tested = {name: difference(by_prior, name, baseline) for name in others}
    gains = {name: one.mean for name, one in tested.items()}  # over the images that both have
    better = [name for name in others if tested[name].mean > 0 and is_clear(tested[name], len(others))]
    worse = [name for name in others if tested[name].mean < 0 and is_clear(tested[name], len(others))]
    if better:
        best = max(better, key=gains.__getitem__)
        text = (
            f"{display_name(best)} has the highest log p(x) of the test images: {means[best]:.2f} nats, "
            f"{_by(tested[best])} more than {base}{_p(tested[best])}."
        )
        rest = [name for name in others if name != best]
        near = [name for name in rest if not is_clear(difference(by_prior, best, name), len(others))]
        if near:
            text += f" From {_listed(near)} it cannot be told apart."
        if far := [name for name in better if name != best and name not in near]:
            text += f" {_listed(far)} {'is' if len(far) == 1 else 'are'} better than {base}, too."
    else:
        closest = max(others, key=gains.__getitem__)
        way = "more" if tested[closest].mean > 0 else "less"
        text = (
            f"No prior has a higher log p(x) of the test images than {base} beyond the noise: with "
            f"{display_name(closest)} it is {_by(tested[closest])} nats {way}{_p(tested[closest])}."
        )
    return text + (f" Worse than {base}: {_listed(worse)}." if worse else "")


def _known(scores: Mapping[str, Scores]) -> Scores:
    """log p(x) of the priors of which it is known at some image."""
    return {name: values for name, values in scores.get("log_marginal", {}).items() if not np.isnan(values).all()}


def _fewer(rows: Rows, scores: Mapping[str, Scores], baseline: str) -> str:
    """Sentences on priors whose log p(x) is of fewer images, with the differences on these."""
    by_prior = _known(scores)
    found = {row["prior"]: row["test"] for row in rows if NUM_IMAGES in (row["test"] or {})}
    if not found:
        return ""
    test, length = next(iter(found.values())), max((values.shape[1] for values in by_prior.values()), default=0)
    of_all = f" of the {length:,}" if length > test[NUM_IMAGES] else ""
    text = (
        f"log p(x) of {_listed(found)} is estimated on {test[NUM_IMAGES]:,}{of_all} test images with "
        f"S = {test[NUM_SAMPLES]:,}, {fewer_images.WHY}."
    )
    if baseline in by_prior and (others := [name for name in found if name in by_prior and name != baseline]):
        tested = {name: difference(by_prior, name, baseline) for name in others}
        each = "; ".join(f"{display_name(name)} {tested[name].format()}" for name in others)
        text += f" Differences from {display_name(baseline)} are over the same images; in nats: {each}."
    return f"{text} {fewer_images.BIAS}"


def _normalizers(rows: Rows) -> str:
    """A sentence on each log p(x) with an estimated normaliser in it."""
    largest: dict[str, tuple[float, float]] = {}  # over the seeds
    for row in rows:
        if row["test"] and ERROR in row["test"]:
            largest[row["prior"]] = max((row["test"][ERROR], row["test"][BIAS]), largest.get(row["prior"], (0.0, 0.0)))
    if not largest:
        return ""
    worst = max(largest, key=lambda name: largest[name][0])
    error = error_and_bias(*largest[worst])
    if len(largest) == 1:
        return f"The density of {display_name(worst)} is an estimate, which adds an error to its log p(x): {error}."
    return (
        f"The densities of {_listed(largest)} are estimates, which adds an error to their log p(x), at most that "
        f"of {display_name(worst)}: {error}."
    )


def _samples(scores: Mapping[str, Scores], baseline: str) -> str:
    """A sentence on the FID."""
    by_prior = scores.get("fid", {})
    others = [name for name in by_prior if name != baseline]
    if baseline not in by_prior or not others:
        return ""
    means = {name: float(values.mean()) for name, values in by_prior.items()}
    best = min(others, key=means.__getitem__)
    tested = difference(by_prior, best, baseline)
    numbers = f"an FID of {means[best]:.2f} with {display_name(best)} and of {means[baseline]:.2f} with"
    numbers = f"{numbers} {display_name(baseline)}"
    if np.isnan(tested.p_value):
        return f"Samples have {numbers}, in one seed."
    if is_clear(tested, len(others)):
        return f"Samples are {'better' if tested.mean < 0 else 'no better'}: {numbers}{_p(tested)}."
    return f"By their samples the priors cannot be told apart: {numbers}{_p(tested)}."


def _hole(rows: Rows, scores: Mapping[str, Scores], baseline: str) -> str:
    """A sentence on the divergence between encodings and prior."""
    by_prior = scores.get("divergence", {})
    if baseline not in by_prior:
        return ""
    means = {name: float(values.mean()) for name, values in by_prior.items()}
    least = min(means, key=means.__getitem__)
    text = f"Samples of {display_name(baseline)} are {max(means[baseline], 0):.3f} nats from the encodings"
    if least != baseline:
        text += f", those of {display_name(least)} {max(means[least], 0):.3f}"
    counts = [row["holes"]["num_encodings"] for row in rows if "num_encodings" in row.get("holes", {})]
    few = bool(few_encodings_note(min(counts, default=None)))
    few_text = "; a classifier of so few encodings shows gross differences only" if few else ""
    return f"{text} (0 where they agree, at most 0.69{few_text})."


def _certainty(by_prior: Scores) -> str:
    """What the tests rest on."""
    if len(by_prior) < 2:
        return ""
    num_seeds, num_images = next(iter(by_prior.values())).shape
    if num_images == 1 and num_seeds == 1:
        return "With one seed nothing can be said of the noise."
    num_tests = len(by_prior) - 1
    images = f"{num_images:,} test images" if num_images > 1 else ""
    if num_seeds == 1:
        return f"Paired tests over {images} of one seed: another seed may give another order."
    over = " and ".join(part for part in (images, f"{num_seeds} seeds") if part)
    shared = f", shared by {num_tests} comparisons" if num_tests > 1 else ""
    return f"Paired tests over {over}; a difference counts at {100 * LEVEL:.0f} %{shared}."
