"""What `report` returns: the measures of a VAE, which print as a table and go to JSON."""

import json
import math
from typing import Any, NamedTuple

from vaepriors_jax.evaluation.estimates import Estimate
from vaepriors_jax.evaluation.samples.quality import SampleQuality

ENOUGH_ENCODINGS = 10_000
BLIND_FROM = 10  # dimensions, from which on the hole mass misses local holes


class Likelihood(NamedTuple):
    """Means over the examples, in nats; each error is that of the choice of examples.

    Attributes:
        log_marginal: importance-weighted log p(x), a lower bound in expectation; None where it is not known.
        log_marginal_given_context: the same of log p(x|y), where the model reads context.
        elbo: the ELBO; given the context, where there is any.
        reconstruction: its first term, E_q[log p(x|z)].
        kl: its second term, KL(q(z|x) || p(z)).
        rise: what the importance-weighted bound gained over the last tenfold increase of samples.
        unreliable: share of examples whose importance weights are unequal, with a Pareto k above 0.7.
        normalizer_error: what one standard error of the prior's normaliser adds to log p(x), where that is an estimate.
        normalizer_bias: what the estimate adds to log p(x) in expectation; above 0 where log p(x) is too high.
    """

    log_marginal: Estimate[float] | None
    log_marginal_given_context: Estimate[float] | None
    elbo: Estimate[float]
    reconstruction: Estimate[float]
    kl: Estimate[float]
    rise: float
    unreliable: float
    normalizer_error: float | None = None
    normalizer_bias: float | None = None


class Hole(NamedTuple):
    """How far the prior is from the encodings.

    Attributes:
        divergence: Jensen-Shannon divergence in nats, bounded from below by a classifier; at most log 2.
        accuracy: accuracy of that classifier.
        hole_mass: share of the prior's mass where no example is encoded.
        num_encodings: encodings from which the classifier learned.
    """

    divergence: Estimate[float] | None
    accuracy: Estimate[float] | None
    hole_mass: Estimate[float] | None
    num_encodings: int


class Latents(NamedTuple):
    """The use of dimensions and components.

    Attributes:
        dim: dimensions of z.
        active_units: dimensions whose posterior mean varies between examples.
        collapsed: dimensions that tell less than 0.01 nats of x.
        components_used: perplexity of the components' responsibilities, where the prior is a mixture.
        num_components: number of components.
    """

    dim: int
    active_units: int | None
    collapsed: int | None
    components_used: float | None
    num_components: int | None


class Row(NamedTuple):
    """A line of the table, as text."""

    name: str
    value: str
    error: str = ""
    unit: str = ""
    note: str = ""


class Report(NamedTuple):
    """The measures of a trained VAE. `print(report)` shows a table.

    Attributes:
        likelihood: a `Likelihood`.
        hole: a `Hole`.
        latents: a `Latents`.
        samples: a `SampleQuality`, where features were given.
        num_examples: number of examples.
        num_samples: importance samples for each.
        context: names of the context that the model was given.
        missing: why a measure is None, by its name.
    """

    likelihood: Likelihood
    hole: Hole
    latents: Latents
    samples: SampleQuality | None
    num_examples: int
    num_samples: int
    context: tuple[str, ...]
    missing: dict[str, str]

    def __str__(self) -> str:
        """The table."""
        rows = [Row("", "value", "±", "unit", "how to read it"), *_rows(self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for name, value, error, unit, note in rows:
            cells = name.ljust(widths[0]), value.rjust(widths[1]), error.rjust(widths[2]), unit.ljust(widths[3]), note
            lines.append("  ".join(cells).rstrip())
        said = [f"Means over {self.num_examples:,} examples; ± is one standard error.", *_caveats(self)]
        said += [f"Not measured: {name}. {reason}" for name, reason in self.missing.items()]
        return "\n".join([*lines, *said])

    def as_dict(self) -> dict[str, Any]:
        """Plain data by name: dicts, lists and numbers, with None for what is not finite."""
        return _plain(self)

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.as_dict(), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (str, int)):
        return value
    return float(value) if math.isfinite(value) else None


def _row(name: str, value: Estimate[float] | None, digits: int, unit: str, note: str) -> list[Row]:
    if value is None:
        return []
    error = "" if math.isnan(value.standard_error) else f"{value.standard_error:.{digits}f}"
    return [Row(name, f"{round(value.mean, digits) + 0.0:.{digits}f}", error, unit, note)]  # 0.0 and not -0.0


def _rows(report: Report) -> list[Row]:
    return [*_likelihood_rows(report), *_hole_rows(report), *_latent_rows(report.latents), *_sample_rows(report)]


def _likelihood_rows(report: Report) -> list[Row]:
    likelihood, given = report.likelihood, f"log p(x|{', '.join(report.context)})"
    bound = "lower bound in expectation; larger is better"
    if likelihood.normalizer_error is not None:
        bound += "; with an estimated density of the prior, as the ELBO and the KL"
    bounded = given if report.context else "log p(x)"
    return [
        *_row("log p(x)", likelihood.log_marginal, 2, "nats", bound),
        *_row(given, likelihood.log_marginal_given_context, 2, "nats", bound),
        *_row("ELBO", likelihood.elbo, 2, "nats", f"lower bound of {bounded}; larger is better"),
        *_row("  reconstruction", likelihood.reconstruction, 2, "nats", "E_q[log p(x|z)]"),
        *_row("  KL", likelihood.kl, 2, "nats", "KL(q(z|x) || p(z)); ELBO = reconstruction - KL"),
    ]


def _hole_rows(report: Report) -> list[Row]:
    hole = report.hole
    return [
        *_row("divergence", hole.divergence, 3, "nats", "lower bound; 0 where q(z) = p(z), at most 0.693"),
        *_row("accuracy", hole.accuracy, 3, "", "of the classifier behind it; 0.5 where q(z) = p(z)"),
        *_row("hole mass", hole.hole_mass, 3, "", "of the prior where nothing is encoded; 0.01 if q = p"),
    ]


def _caveats(report: Report) -> list[str]:
    """What the numbers of this report cannot tell."""
    likelihood, hole = report.likelihood, report.hole
    weighted = f"log p(x) is estimated by {report.num_samples:,} importance samples"
    if not math.isnan(likelihood.rise):
        weighted += f", of which the last tenfold raised it by {likelihood.rise:.2f} nats"
    said = [f"{weighted}."]
    if likelihood.normalizer_error is not None and likelihood.normalizer_bias is not None:
        way = "high" if likelihood.normalizer_bias >= 0 else "low"
        said.append(
            f"The prior's density is an estimate: its error in log p(x), {likelihood.normalizer_error:.2g} nats, is "
            f"not in ±, and on average log p(x) is too {way} by {abs(likelihood.normalizer_bias):.1g} nats."
        )
    if likelihood.unreliable > 0:
        said.append(f"For {likelihood.unreliable:.0%} of the examples it is not reliable (Pareto k above 0.7).")
    if hole.divergence is not None and hole.num_encodings < ENOUGH_ENCODINGS:
        said.append(f"{hole.num_encodings:,} encodings show gross differences only: q and p can differ at 0 as well.")
    if hole.hole_mass is not None and report.latents.dim >= BLIND_FROM:
        said.append(f"In {report.latents.dim} dimensions the hole mass misses local holes.")
    if report.samples is not None:
        said.append("Few examples bias the FID upwards: compare it with that of training examples.")
    return said


def _latent_rows(latents: Latents) -> list[Row]:
    rows = []
    if latents.active_units is not None:
        rows.append(Row("active units", str(latents.active_units), "", f"of {latents.dim}", "their mean varies with x"))
        rows.append(Row("collapsed", str(latents.collapsed), "", f"of {latents.dim}", "tell < 0.01 nats of x"))
    if latents.components_used is not None:
        used = f"{latents.components_used:.1f}"
        rows.append(Row("components", used, "", f"of {latents.num_components}", "in use: perplexity over examples"))
    return rows


def _sample_rows(report: Report) -> list[Row]:
    if report.samples is None:
        return []
    generated, floor = (report.samples.scores[name] for name in ("generated", "floor"))
    notes = {
        "fid": "smaller is better",
        "precision": "share of samples near data",
        "coverage": "share of data with a sample beside it",
    }
    rows = []
    for name, note in notes.items():
        title = "FID" if name == "fid" else name
        against = f"{note}; {floor[name].estimate.mean:.2f} of training examples"
        rows += _row(title, generated[name].estimate, 2, "", against)
    return rows
