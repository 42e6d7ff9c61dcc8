"""The tables and the recommendation of `choose_prior`."""

from pathlib import Path
from typing import Any

import distrax

import vaepriors_jax as vp
from experiments.data.dataset import Dataset
from experiments.models.posteriors import PAIRED
from experiments.models.trained import Model
from experiments.report import results
from experiments.report.comparison_tables import hole_notes, without_old_holes
from experiments.report.document import Section, Table
from experiments.report.recommendation import STANDARD, Measurements, Recommendation, display_name
from vaepriors_jax.distributions.closed_forms import closed_form_kl
from vaepriors_jax.distributions.power_spherical import SphericalUniform
from vaepriors_jax.distributions.probability_flow import ProbabilityFlow
from vaepriors_jax.distributions.wrapped_normal import WrappedNormal

MEASURES = {  # part of the rows, title and digits of each column
    "fid": ("samples", "FID", 2),
    "fid_reconstructions": ("samples", "FID (rec.)", 2),
    "divergence": ("holes", "divergence", 3),
    "accuracy": ("holes", "accuracy", 2),
    "hole_mass": ("holes", "hole mass", 3),
    "reconstruction": ("test", "reconstruction", 2),
    "elbo": ("test", "ELBO", 2),
}


HOLES = ("divergence", "accuracy", "hole_mass")


def density_of(prior: Any) -> str:
    """How the density of a prior's distribution is computed, in words."""
    if isinstance(prior, vp.TwoLevel):
        return density_of(prior.top)
    if isinstance(prior, distrax.Transformed):
        base = density_of(prior.distribution)
        return "exact, by change of variables" if base.startswith("exact") else base
    if isinstance(prior, ProbabilityFlow):
        return "that of an ODE, up to the error of its solver"
    if hasattr(prior, "normalizer"):
        return "an estimate: its normaliser is not known exactly"
    is_exact = isinstance(prior, (vp.Mixture, SphericalUniform, WrappedNormal))
    known = is_exact or closed_form_kl(prior, prior) is not None
    return "exact" if known else "that of its own code"


def kind_of(model: Model, data: Dataset) -> tuple[str, str]:
    """How a model's prior computes its density, and the KL to it from the encoder's posterior, in words."""
    prior = model.example_prior(data)
    context = {name: array[0] for name, array in model.context(data.fixed_train).items()}
    posterior = model.vae.posterior(model.params, data.fixed_train["x"][0], **context)
    has_closed_form = closed_form_kl(posterior, prior) is not None
    return density_of(prior), "closed form" if has_closed_form else "Monte Carlo estimate"


def _cell(values: list[float] | None, digits: int) -> str:
    if values is None:
        return "–"
    mean, error = results.mean_and_error(values)
    return results.format_mean({"mean": mean, "standard_error": error}, digits)


def scores_table(measured: Measurements, num_seeds: int) -> Table:
    """The scores of each candidate."""
    names = [name for name in MEASURES if name in HOLES or any(name in values for values in measured.values())]
    cells = [
        [prior, *(_cell(without_old_holes(values).get(name), MEASURES[name][2]) for name in names)]
        for prior, values in measured.items()
    ]
    averaged = f"Mean over {num_seeds} seeds ± standard error." if num_seeds > 1 else "Of one seed."
    notes = [
        f"{averaged} {hole_notes(measured.values())} Reconstruction and ELBO of the "
        "test images in nats, larger is better."
    ]
    if "fid" in names:
        notes.append(
            "FID of samples against test images, by features of a classifier of this data set, and of reconstructions "
            "(rec.), which bound what a prior can gain."
        )
    return Table("Candidates", ["prior", *(MEASURES[name][1] for name in names)], cells, notes)


def _cost(row: dict[str, Any], base: dict[str, Any]) -> str:
    ratio = f"{row['seconds_per_epoch'] / base['seconds_per_epoch']:.1f}x"
    return f"{ratio} and the fit" if "refit" in row["prior"] else ratio


def cost_table(content: dict[str, Any]) -> Table:
    """How the KL of each prior is computed, and the measured holes and cost."""
    measured = content["measured"]
    base = {row["prior"]: row for row in content["rows"]}[STANDARD]
    cells = []
    for prior, kind in content["kinds"].items():
        row = next(row for row in content["rows"] if row["prior"] == prior)
        cells.append(
            [
                prior,
                *kind,
                *(_cell(without_old_holes(measured[prior]).get(name), MEASURES[name][2]) for name in HOLES),
                f"{row['num_parameters'] - base['num_parameters']:,}",
                "–" if content.get("busy") else _cost(row, base),
            ]
        )
    replicas = "1 replica" if base["replicas_at_once"] == 1 else f"{base['replicas_at_once']} replicas at once"
    seconds = f"{base['seconds_per_epoch']:.2g} s for {replicas}"
    in_r_n = PAIRED.keys().isdisjoint(content["kinds"])
    header = ["prior", "density", "KL in the ELBO", *(MEASURES[name][1] for name in HOLES), "parameters", "an epoch"]
    notes = [
        f"Measured on {Path(content['dataset']).stem}, {content['config']['latent_dim']} latent dimensions, "
        f"{content['config']['num_components']} components: expressiveness is what a prior leaves of the divergence "
        "from the encodings (nats; 0 where p = q) and of the hole (0.01). Parameters are those of the prior.",
        "" if content.get("busy") else f"An epoch: time against that of N(0, I), {seconds}.",
        "A flow prior's density is exact, by the change of variables; its KL is a Monte Carlo estimate, as that of the "
        "mixtures is" + (": only a Gaussian prior has it in closed form." if in_r_n else "."),
    ]
    return Table("KL computation, expressiveness and cost", header, cells, [note for note in notes if note])


def tables(content: dict[str, Any]) -> list[Table]:
    """The tables of the report, from results.json."""
    return [scores_table(content["measured"], len(content["measured"][STANDARD]["elbo"])), cost_table(content)]


def advice(recommendation: Recommendation) -> list[Section]:
    """The recommendation as sections of the report."""
    return [
        Section(f"Recommended: {display_name(recommendation.prior)}", [" ".join(recommendation.reasons)]),
        Section("What else was found", recommendation.findings),
        Section("How sure is that?", recommendation.certainty),
    ]
