"""The short table that leads the tables of a result: few columns, and no more digits than the errors allow."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from experiments.measures.holes import few_encodings_note
from experiments.report import classes, paired
from experiments.report.answer import BETTER, WORSE
from experiments.report.comparison_tables import without_old_holes
from experiments.report.document import Table
from experiments.report.fewer_images import fewer_mark, fewer_note
from experiments.report.normalizers import estimated_mark, estimated_note
from experiments.report.quality import differences
from experiments.report.recommendation import BUSY, STANDARD, display_name, short_name
from experiments.report.results import mean_and_error

ALIKE = ("share_within_pixels", "share_within_features", "share_within_entropy")


def short(mean: float | None, error: float | None = None, most: int = 2) -> str:
    """A mean and its error, with as few digits as the error allows and at most so many places."""
    if mean is None or not math.isfinite(mean):
        return "–"
    if not error or not math.isfinite(error):
        return f"{mean:z.{most}f}" if abs(mean) < 10 else f"{mean:.1f}"
    places = min(max(0, -math.floor(math.log10(error / 3))), most)
    return f"{mean:z.{places}f}\u00a0±\u00a0{error:.{places}f}"  # in one line, on a phone too


def _over_seeds(values: Sequence[float] | None, most: int = 2) -> str:
    return "–" if values is None else short(*mean_and_error(values), most)


def _of_entry(entry: Mapping[str, Any] | None, most: int = 2) -> str:
    return "–" if entry is None else short(entry["mean"], entry["standard_error"], most)


def _refitted(names: Iterable[str]) -> str:
    """What "refitted" says, if a name says so."""
    there = any(name.endswith(", refitted") for name in names)
    return "Refitted: fitted to the encodings of the finished VAE with N(0, I)." if there else ""


def _table(columns: Mapping[str, Iterable[str]], *notes: str) -> Table:
    """A table by its columns, without those that say nothing."""
    every = {title: list(cells) for title, cells in columns.items()}
    kept = {title: cells for title, cells in every.items() if set(cells) - {"–"}}
    kept = kept if len(kept) > 1 else every
    return Table("In short", list(kept), list(zip(*kept.values(), strict=True)), [note for note in notes if note])


MARKED = {"log p(x)": "log_marginal", "FID": "fid", "divergence": "divergence"}  # columns with marks


def of_comparison(summary: Sequence[Mapping[str, Any]], marks: Mapping[str, Mapping[str, str]] | None = None) -> Table:
    """log p(x), the ELBO, and how good samples and latents are; with marks at what is better than the baseline."""
    # Given the label, the ELBO bounds log p(x|y).
    elbos = [None if "log_marginal_given_label" in entry else entry.get("elbo") for entry in summary]
    columns = {
        "prior": [short_name(entry["prior"]) for entry in summary],
        "log p(x)": [
            _of_entry(entry.get("log_marginal")) + estimated_mark(entry) + fewer_mark(entry) for entry in summary
        ],
        "FID": [_of_entry(entry.get("generated", {}).get("fid")) for entry in summary],
        "divergence": [_of_entry(without_old_holes(entry).get("divergence"), 3) for entry in summary],
        "ELBO": [_of_entry(elbo) + estimated_mark(entry) for elbo, entry in zip(elbos, summary, strict=True)],
    }
    marked = False
    for title, measure in MARKED.items():
        of_prior = (marks or {}).get(measure, {})
        found = [of_prior.get(entry["prior"], "") for entry in summary]
        columns[title] = [f"{cell} {mark}".rstrip() for cell, mark in zip(columns[title], found, strict=True)]
        marked |= any(found)
    several = {entry.get("num_seeds", 1) > 1 for entry in summary}
    over = {(True,): "seeds", (False,): "test images"}.get(tuple(several), "seeds, or over test images of one seed")
    counts = [entry["num_encodings"]["mean"] for entry in summary if "num_encodings" in entry]
    return _table(
        columns,
        f"log p(x) and ELBO of test images in nats: larger is better, ± over {over}.",
        *estimated_note(summary),
        *fewer_note(summary),
        *_said(columns, counts),
        _marks_note(summary) if marked else "",
    )


def _marks_note(summary: Sequence[Mapping[str, Any]]) -> str:
    """What the marks say: of differences to N(0, I) or, where that was not trained, to the first prior."""
    names = [entry["prior"] for entry in summary if entry.get("num_seeds", 1)]
    baseline = display_name(STANDARD if STANDARD in names else names[0])
    return (
        f"{BETTER} better and {WORSE} worse than {baseline} beyond the noise: paired tests over seeds, and over test "
        "images for log p(x); 5 % for each column."
    )


def _said(columns: Mapping[str, Sequence[str]], num_encodings: Sequence[float]) -> list[str]:
    """What those columns say that are there."""
    said = {
        "FID": "FID of samples: smaller is better.",
        "divergence": "Divergence of encodings and prior in nats: 0 where they agree, at most 0.69. "
        + few_encodings_note(min(num_encodings, default=None)),
    }
    return [text.strip() for title, text in said.items() if set(columns[title]) - {"–"}]


def of_choice(content: Mapping[str, Any]) -> Table:
    """What each candidate gives, and what it costs."""
    measured = content["measured"]
    seconds = {row["prior"]: row["seconds_per_epoch"] for row in content["rows"]}
    columns = {
        "prior": [short_name(prior) for prior in measured],
        "FID": [_over_seeds(values.get("fid")) for values in measured.values()],
        "ELBO": [_over_seeds(values["elbo"]) for values in measured.values()],
        "divergence": [_over_seeds(without_old_holes(values).get("divergence"), 3) for values in measured.values()],
        "an epoch": [f"{seconds[prior] / seconds[STANDARD]:.1f}x" for prior in measured],
    }
    cost = "An epoch: time against that of N(0, I)."
    if content.get("busy"):
        del columns["an epoch"]
        cost = BUSY
    config = content["config"]
    counts = [min(values["num_encodings"]) for values in measured.values() if "num_encodings" in values]
    return _table(
        columns,
        f"On {content['dataset']}: {config['latent_dim']} latents, {config['num_components']} components, "
        f"{config['epochs']} epochs, {len(measured[STANDARD]['elbo'])} seeds. ELBO of test images in nats: larger is "
        f"better. {cost}",
        *_said(columns, counts),
        _refitted(columns["prior"]),
    )


def of_plane(rows: Sequence[Mapping[str, Any]]) -> Table:
    """How large the hole of each prior is."""
    columns = {"prior": [short_name(row["prior"]) for row in rows]}
    for name in ("divergence", "hole_mass"):
        columns[name.replace("_", " ")] = [
            short(*without_old_holes(row).get(name, (None, None)), most=3) for row in rows
        ]
    return _table(
        columns,
        "Divergence of encodings and prior in nats: 0 where they agree, at most 0.69. Hole mass: share of the prior's "
        "mass where no image is encoded, 0.01 where they agree.",
    )


def of_holes(content: Mapping[str, Any]) -> Table:
    """What the README's picture shows, in numbers."""
    rows = content["rows"]
    columns = {
        "prior": [short_name(row["prior"]) for row in rows],
        "hole mass in the plane": [short(*row["hole_mass"], most=3) for row in rows],
        "divergence": [short(*row["divergence"], most=3) for row in rows],
    }
    return _table(
        columns,
        f"On {content['dataset']}, {content['config']['latent_dim']} latents. Hole mass: share of the prior's mass "
        "where its density in the plane is more than 5 times that of the encodings. Divergence of encodings and prior "
        f"in nats, in all dimensions: 0 where they agree, at most 0.69. {few_encodings_note(rows[0]['num_encodings'])}",
        _refitted(columns["prior"]),
    )


def of_quality(content: Mapping[str, Any]) -> Table:
    """FID and coverage, with the difference in FID to the first prior."""
    summary = content["summary"]
    by_prior = differences(content["rows"], summary[0]["prior"])
    rows = [(short_name(entry["prior"]), entry["generated"]) for entry in summary]
    rows.append(
        ("training images", {name: {**value, "standard_error": None} for name, value in summary[0]["floor"].items()})
    )
    gains = ["–", *(_difference(by_prior[entry["prior"]]["fid"]) for entry in summary[1:]), "–"]
    columns = {
        "samples of": [name for name, _ in rows],
        "FID": [_of_entry(scores["fid"]) for _, scores in rows],
        "difference": gains,
        "coverage": [_of_entry(scores["coverage"], 3) for _, scores in rows],
    }
    return _table(
        columns,
        f"FID: smaller is better. Difference: to the FID of {short_name(summary[0]['prior'])}, with p of a paired "
        f"t-test over {summary[0]['num_seeds']} seeds. Coverage: share of test images with a sample beside them.",
        _refitted(columns["samples of"]),
    )


def signed(mean_and_error: Sequence[float]) -> str:
    """A difference with its sign, and its error."""
    cell = short(mean_and_error[0], mean_and_error[1])
    return cell if cell.startswith("-") else f"+{cell}"


def _difference(difference: paired.Difference) -> str:
    cell = signed((difference.mean, difference.standard_error))
    return cell + ("" if math.isnan(difference.p_value) else f" ({difference.p_text})")


def of_pseudo_inputs(rows: Sequence[Mapping[str, Any]]) -> Table:
    """How many pseudo-inputs are like real images."""
    titles = ("near, in pixels", "near, in features", "of one class")
    columns = {"start": [row["start"] for row in rows]}
    columns |= {title: [f"{100 * row[name]:.0f} %" for row in rows] for title, name in zip(titles, ALIKE, strict=True)}
    return _table(
        columns,
        f"Shares of {rows[0]['num_components']} pseudo-inputs: as near to a training image as 95 % of held-out images "
        "are, in pixels and in features of a classifier; as clearly of one class as these.",
    )


def of_classes(content: Mapping[str, Any]) -> Table:
    """How often samples are of the class that was asked for, and their FID."""
    table = classes.classes_table(content["rows"], content["real_shares"])
    names = (classes.CONDITIONAL, classes.SHARED, classes.BLIND)
    values = {
        what: [_over_seeds([row["test"][what] for row in content["rows"] if row["prior"] == name], 3) for name in names]
        for what in ("share", "fid")
    }
    real = table.rows[-1]
    columns = {
        "prior": [*names, "real images"],
        "in the asked class": [*values["share"], real[1]],
        "FID": [*values["fid"], real[2]],
    }
    return _table(columns, "Share of samples that a classifier puts into the class asked for. FID: smaller is better.")


def _count_or_mean(value: float) -> str:
    return str(int(value)) if value == int(value) else short(value, most=3)


def of_example(rows: Sequence[Mapping[str, Any]]) -> Table:
    """log p(x) with each prior, and how much more it is than with the first."""
    first, seeds = rows[0]["prior"], [str(row["seed"]) for row in rows]
    columns = {rows[0].get("compared", "prior"): [row["prior"] for row in rows]}
    columns |= {"seed": seeds} if len(set(seeds)) > 1 else {}
    columns["log p(x)"] = [short(*row["log_marginal"]) for row in rows]
    columns["difference"] = [signed(row["difference"]) if row["difference"] else "–" for row in rows]
    columns |= {title: [_count_or_mean(row["more"][title]) for row in rows] for title in rows[0]["more"]}
    return _table(
        columns,
        f"log p(x) of test data in nats: larger is better, ± over the test data. Difference to {first}, paired: both "
        f"on the same test data. {'One seed.' if len(set(seeds)) == 1 else ''}".strip(),
    )


def of_benchmark(parts: Mapping[str, Any]) -> Table:
    """How much faster than other code."""
    kernel, epochs, images = (
        {row[0]: row[1:] for row in table["rows"]}
        for table in (*parts["mixture"]["tables"], *parts["training"]["tables"])
    )
    rows = []
    for prior, name in (("standard", "N(0, I)"), ("vamp", "VampPrior")):
        ours = epochs[f"{prior}: vaepriors_jax"][0]
        for other in ("PyTorch", "pythae's VAMP"):
            if f"{prior}: {other}" in epochs:
                time, faster = epochs[f"{prior}: {other}"][:2]
                rows.append((f"an epoch, {name}", faster, ours, f"{time}, {other}"))
    for prior, name in (("standard", "N(0, I)"), ("vamp", "VampPrior")):
        ours, time, faster = images[prior][:3]
        rows.append((f"log p(x), {name}", faster, ours, f"{time}, PyTorch"))
    for name, title in (("forward and backward", "gradient of a mixture"), ("sampling", "samples of a mixture")):
        ours, time, faster = kernel[name][:3]
        rows.append((title, faster, ours, f"{time}, distrax"))
    note = (
        "An epoch: 50,000 images of MNIST, batch 100, K = 500 pseudo-inputs. log p(x): one image, 5000 importance "
        "samples. A mixture: 500 components, 40 dimensions, 100 points."
    )
    return Table("In short", ("", "faster by", "ours", "other"), rows, [note])


def of(content: Mapping[str, Any]) -> Table:
    """The short table of a result file."""
    makers: dict[str, Callable[[], Table]] = {
        "benchmark": lambda: of_benchmark(content["parts"]),
        "prior_holes": lambda: of_holes(content),
        "prior_visualization": lambda: of_plane(content["rows"]),
        "generation_quality": lambda: of_quality(content),
        "pseudo_inputs": lambda: of_pseudo_inputs(content["rows"]),
        "conditional_generation": lambda: of_classes(content),
        "choose_prior": lambda: of_choice(content),
        "example": lambda: of_example(content["rows"]),
    }
    return makers.get(content["experiment"], lambda: of_comparison(content["summary"]))()
