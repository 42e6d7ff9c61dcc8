"""Which prior should be used? The recommendation of `choose_prior`, a pure function of the measurements.

Measurements are {prior: {name: [one value for each seed]}}, the simplest prior first. N(0, I) is `standard`, and
`standard, refit X` is its VAE with the prior X fitted afterwards.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from experiments.measures.holes import few_encodings_note
from experiments.report import paired
from experiments.report.paired import Difference

Measurements = dict[str, dict[str, list[float]]]

STANDARD, REFIT = "standard", "standard, refit "
NO_HOLE = 0.02  # nats between encodings and prior, of log 2 = 0.69 at most; 0 where p = q
POOR = 2.0  # times the FID of reconstructions or of training images, from which generation is called poor
BEHIND = 2.0  # standard errors behind the best from which a prior is set aside; what is claimed is tested at 5 %
SAME_COST = 1.2  # ratio of seconds below which the simpler prior goes first
# Of a result file with the entry "busy", set by hand.
BUSY = "The machine had other work during this run, so its times are left out."
MOST_LISTED = 5  # priors whose times are all named in a sentence
SCORES = {"fid": ("FID", -1, ""), "elbo": ("ELBO", 1, " nats")}  # name, which sign is better, unit


class Recommendation(NamedTuple):
    """The recommended prior, the reasons for it in three sentences, what else was found, and how certain it is."""

    prior: str
    reasons: list[str]
    findings: list[str]
    certainty: list[str]


def recommend(measured: Measurements, *, timed: bool = True) -> Recommendation:
    """Recommends the cheapest prior that is not behind the best, with reasons and their certainty.

    Where the times mean nothing (not `timed`), the first of them.
    """
    if not timed:
        measured = {prior: values | {"seconds_per_epoch": [1.0]} for prior, values in measured.items()}
    kept = {score: near_best(measured, score) for score in SCORES if _has(measured, score)}
    both = [prior for prior in measured if all(prior in names for names in kept.values())]
    contenders = both or next(iter(kept.values()))
    prior = cheapest(measured, contenders)
    reasons = [hole_reason(measured), choice_reason(measured, kept, contenders, prior)]
    reasons.append(cost_reason(measured, prior) if timed else BUSY)
    findings = [refit_finding(measured, prior), cluster_finding(measured), generation_finding(measured)]
    return Recommendation(
        prior,
        [reason for reason in reasons if reason],
        [finding for finding in findings if finding],
        certainty(measured, prior),
    )


def _has(measured: Measurements, name: str) -> bool:
    return all(name in values for values in measured.values())


def _few_encodings(measured: Measurements) -> bool:
    """Whether the classifier learned from so few encodings that it sees gross differences only."""
    return "num_encodings" in measured[STANDARD] and bool(
        few_encodings_note(_mean(measured, STANDARD, "num_encodings"))
    )


def _mean(measured: Measurements, prior: str, name: str) -> float:
    return float(np.mean(measured[prior][name]))


def _difference(measured: Measurements, first: str, second: str, name: str) -> Difference:
    return paired.compare(measured[first][name], measured[second][name])


def display_name(prior: str) -> str:
    """A prior's name in a sentence."""
    if prior == STANDARD:
        return "N(0, I)"
    return prior.replace(REFIT, "N(0, I) refitted with ")


def short_name(prior: str) -> str:
    """A prior's name in a narrow column, or above a picture."""
    return f"{prior.removeprefix(REFIT)}, refitted" if prior.startswith(REFIT) else display_name(prior)


def _display_names(priors: Iterable[str]) -> str:
    return ", ".join(map(display_name, priors))


def _refits(measured: Measurements) -> list[str]:
    return [prior for prior in measured if prior.startswith(REFIT)]


def _worse(measured: Measurements, prior: str, other: str, score: str) -> bool:
    """Whether a prior is behind another by so many standard errors; for one seed, at all."""
    difference = _difference(measured, prior, other, score)
    lag = -SCORES[score][1] * difference.mean
    return lag > 0 if np.isnan(difference.standard_error) else lag > BEHIND * difference.standard_error


def _best(measured: Measurements, score: str) -> str:
    """The prior with the best mean of a score."""
    return max(measured, key=lambda prior: SCORES[score][1] * _mean(measured, prior, score))


def near_best(measured: Measurements, score: str) -> list[str]:
    """The priors that are not behind the best mean of a score."""
    best = _best(measured, score)
    return [prior for prior in measured if not _worse(measured, prior, best, score)]


def cheapest(measured: Measurements, contenders: list[str]) -> str:
    """The simplest of those that cost about as little as the cheapest."""
    seconds = {prior: _mean(measured, prior, "seconds_per_epoch") for prior in contenders}
    return next(prior for prior in contenders if seconds[prior] <= SAME_COST * min(seconds.values()))


def hole_reason(measured: Measurements) -> str:
    """A sentence on whether N(0, I) is good enough."""
    known = "divergence" in measured[STANDARD]
    hole = known and _mean(measured, STANDARD, "divergence") > NO_HOLE
    if known and not hole and _few_encodings(measured):
        known = False  # a divergence near 0 says nothing then
    facts = "how far its samples are from the encodings was not measured"
    if "divergence" in measured[STANDARD] and not known:
        number = _mean(measured, STANDARD, "num_encodings")
        facts = f"{number:.0f} encodings of held-out images are too few to tell whether it leaves a hole"
    if known:
        divergence, accuracy = (_mean(measured, STANDARD, name) for name in ("divergence", "accuracy"))
        facts = (
            f"a classifier tells its samples from encodings of held-out images with an accuracy of {accuracy:.2f}, a "
            f"divergence of {divergence:.3f} nats (0 where p = q, at most 0.693)"
        )
    refit = _best_refit(measured)
    if refit:
        near = not _worse(measured, STANDARD, refit, "fid")
        return f"{_verdict(hole if known else None, near)}: {facts}."
    if not known:
        return ""
    return f"N(0, I) {'leaves a hole' if hole else 'shows no hole'}: {facts}."


def _best_refit(measured: Measurements) -> str | None:
    """The prior fitted afterwards to the VAE with N(0, I) that has the best FID, if one was scored."""
    refits = _refits(measured) if _has(measured, "fid") else []
    return min(refits, key=lambda prior: _mean(measured, prior, "fid"), default=None)


def _verdict(hole: bool | None, near: bool) -> str:
    """What is said of N(0, I), by whether it leaves a hole (None: not measured) and by its FID beside a refit's."""
    return {
        (None, True): "N(0, I) is good enough by its samples",
        (None, False): "N(0, I) is not good enough",
        (False, True): "N(0, I) is good enough",
        (False, False): "N(0, I) shows no hole, and still its samples gain from a refit",
        (True, True): "N(0, I) leaves a hole that its samples do not show",
        (True, False): "N(0, I) is not good enough",
    }[hole, near]


def refit_finding(measured: Measurements, prior: str) -> str:
    """A sentence on what a prior fitted afterwards gains, unless it is the one that is chosen."""
    refit = _best_refit(measured)
    if refit is None or refit == prior:
        return ""
    end = " - a gain for nothing but the fit" if _worse(measured, STANDARD, refit, "fid") else ""
    gain = _difference(measured, STANDARD, refit, "fid")
    name = refit.removeprefix(REFIT)
    return f"The FID of N(0, I) less that of the same VAE with a {name} fitted afterwards is {gain}{end}."


def cluster_finding(measured: Measurements) -> str:
    """A sentence on whether the encodings have clusters; none where the classifier saw too few of them to tell."""
    if "gaussian_divergence" not in measured[STANDARD] or not _has(measured, "divergence"):
        return ""
    rest = _mean(measured, STANDARD, "gaussian_divergence")
    if rest <= NO_HOLE and _few_encodings(measured):
        return ""
    text = f"From the Gaussian with their own mean and covariance the encodings are {rest:.3f} nats away"
    refits = _refits(measured)
    least = min((_mean(measured, prior, "divergence") for prior in refits), default=0.0)
    if refits:
        text += f", from the best prior fitted afterwards {least:.3f}"
    return f"{text}: " + (
        "they have clusters, bends or tails, which is what mixtures, VampPriors and flows are for."
        if rest - max(least, 0.0) > NO_HOLE
        else "no more than one Gaussian shows."
    )


def generation_finding(measured: Measurements) -> str:
    """A sentence on whether generation is poor though reconstruction is good."""
    if not _has(measured, "fid"):
        return "Without labels there are no features to score samples with: the choice rests on the ELBO alone."
    fid, rebuilt, floor = (_mean(measured, STANDARD, name) for name in ("fid", "fid_reconstructions", "fid_floor"))
    return (
        f"With N(0, I) the FID of samples is {fid:.2f}, that of reconstructions {rebuilt:.2f}, that of training images "
        f"{floor:.2f}: "
    ) + (
        "generation is poor though reconstruction is good, and a better prior has room."
        if fid > POOR * max(rebuilt, floor)
        else "samples are about as good as reconstructions or real images, and a better prior has little room."
    )


def choice_reason(measured: Measurements, kept: dict[str, list[str]], contenders: list[str], prior: str) -> str:
    """A sentence on why this prior is chosen."""
    parts, shown = [], display_name(prior)
    for score, names in kept.items():
        name, _, unit = SCORES[score]
        best = _best(measured, score)
        others = [other for other in names if other != best]
        whose = "its own" if best == prior else f"that of {display_name(best)}"
        text = f"the best mean {name} is {whose} ({_mean(measured, best, score):.2f}{unit})"
        parts.append(text + (f", and not far enough behind to tell: {_display_names(others)}" if others else ""))
    if len(kept) > 1 and not set.intersection(*map(set, kept.values())):
        parts.append(f"none is near the best in both, so the {SCORES[next(iter(kept))][0]} decides")
    why = "the only one left" if len(contenders) == 1 else "the cheapest that is left, or the simplest at equal cost"
    return f"{shown} is {why}: {'; '.join(parts)}."


def cost_reason(measured: Measurements, chosen: str) -> str:
    """A sentence on the time that an epoch takes with each prior; of many with the chosen one and both extremes."""
    base = _mean(measured, STANDARD, "seconds_per_epoch")
    trained = [prior for prior in measured if prior not in _refits(measured) and prior != STANDARD]
    ratios = {prior: _mean(measured, prior, "seconds_per_epoch") / base for prior in trained}
    if len(trained) > MOST_LISTED:
        told = {chosen, min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)}
        ratios = {prior: ratio for prior, ratio in ratios.items() if prior in told}
    parts = [f"{prior} {ratio:.1f} times" for prior, ratio in ratios.items()]
    return f"An epoch takes {base:.2g} s with N(0, I)" + (f"; {', '.join(parts)} as long." if parts else ".")


def certainty(measured: Measurements, prior: str) -> list[str]:
    """Sentences on how certain the choice is."""
    sentences = []
    for score in SCORES if prior != STANDARD else ():
        if _has(measured, score):
            difference = _difference(measured, prior, STANDARD, score)
            sentences.append(
                f"{SCORES[score][0]} of {display_name(prior)} less that of N(0, I): {difference}{_size(difference)}."
            )
    sentences += _alike(measured, prior, "fid" if _has(measured, "fid") else "elbo")
    if "num_encodings" in measured[STANDARD]:
        note = few_encodings_note(_mean(measured, STANDARD, "num_encodings"))
        sentences += [note] if note else []
    return [*sentences, paired.strength(_num_seeds(measured))]


def _num_seeds(measured: Measurements) -> int:
    return len(measured[STANDARD]["elbo"])


def _alike(measured: Measurements, prior: str, score: str) -> list[str]:
    """Sentences on the priors whose score differs from that of the chosen one within the noise."""
    if _num_seeds(measured) == 1:
        return []
    others = [other for other in measured if other != prior]
    alike = [other for other in others if not _difference(measured, other, prior, score).clear]
    if not alike:
        return []
    name = SCORES[score][0]
    sentences = [f"In {name} these differ from {display_name(prior)} within the noise: {_display_names(alike)}."]
    if len(alike) == len(others):
        sentences.append(f"All differences in {name} are within the noise between seeds: it did not make the choice.")
    return sentences


def _size(difference: Difference) -> str:
    if np.isnan(difference.p_value):
        return ""
    return ", larger than the noise between seeds" if difference.clear else ", within the noise between seeds"
