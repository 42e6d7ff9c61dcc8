"""The figures of a comparison of priors, of the first seed of each."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import vaepriors_jax as vp
from experiments import measures
from experiments.data.dataset import Dataset
from experiments.models.posteriors import centre
from experiments.models.trained import Model, Trained, is_euclidean
from experiments.report import figures, latent_space
from experiments.report.document import Figure
from experiments.report.recommendation import short_name
from experiments.runs.programs import drop_if_many
from vaepriors_jax.priors.vamp import has_pseudo_inputs
from vaepriors_jax.vae import without_prior

MARGINALS = (
    "With more than two latent dimensions these are marginals of both densities: exact for Gaussians, mixtures and "
    "VampPriors, by samples for others, such as flows. Contours lie 0.5, 2 and 4.5 nats below the top; grey is outside "
    "the outer ones of both. What a marginal shows is there; a hole can hide in other directions."
)
MOST_INTERPOLATED = 3  # priors: the gradient of each density is compiled
CAPTIONS = {  # title of a figure, and what to see in it
    "samples": (
        "Samples of each prior beside test images",
        "Means of p(x|z) with z from the prior, of the first seed. Where the prior has holes, look for images that are "
        "of no class, or of two at once.",
    ),
    "reconstructions": (
        "Reconstructions",
        "Each row of test images has its reconstructions below it, from the mean of q(z|x) to that of p(x|z). They "
        "bound what a better prior can gain: samples "
        "that look worse than these are the prior's fault, not the decoder's.",
    ),
    "training_curves": (
        "Training",
        "ELBO in nats per image, with the KL at its full weight, one line a seed. Curves that still rise at the end "
        "say that training was too short to compare priors.",
    ),
    "hole_maps": (
        "Prior holes",
        "log q(z) - log p(z) on the plane of the encodings' first two principal components, one colour scale for all. "
        "Blue inside the prior's green contours is a hole: the prior samples there, and no image is encoded there. "
        + MARGINALS,
    ),
    "hole_differences": (
        "Where prior and encodings differ most",
        "log q(z) - log p(z) on a plane for each prior: that of the two directions in which it differs most from the "
        "encodings, chosen with one half of them and drawn from the other. Blue inside the prior's green contours is a "
        "hole: the prior samples there, and no image is encoded there. A prior that fits is white. " + MARGINALS,
    ),
    "encodings": (
        "The encodings",
        "Encodings of test images, one sample of q(z|x) each, by class, and samples of the prior as grey crosses, on "
        "the plane of the encodings' two principal components, or of UMAP. Crosses far from points are samples that "
        "no image is like.",
    ),
    "interpolations": (
        "From one test image to another",
        "For each prior, the upper row decodes the straight line between two encodings, and the lower row a path with "
        "the same ends along which the prior's density is higher: the line, whose points climb log p(z) and stay "
        "evenly distributed (string method). Where the line leads through a hole, its images are of no class.",
    ),
    "components": (
        "Samples by component",
        "A row is one of the heaviest components of the prior: first its mean, decoded, or its pseudo-input, then "
        "samples of that component alone.",
    ),
    "pseudo_inputs": (
        "Pseudo-inputs",
        "What the VampPrior learned beside training images: do they look like data, or like means of many images?",
    ),
}


@partial(jax.jit, static_argnums=0)
def _reconstruct(networks: vp.VAE, params: vp.VAEParams, x: jax.Array, context: Any) -> jax.Array:
    def reconstruct_one(x: jax.Array, context: Any) -> jax.Array:
        z = centre(networks.posterior(params, x, **context))
        return networks.likelihood(params, z, **context).mean()

    return jax.vmap(reconstruct_one)(x, context)


IN_R_N = ("hole_maps", "hole_differences", "interpolations")  # drawn of latents in R^n alone
ORDER = ("samples", "hole_differences", "hole_maps", "encodings", "interpolations", "components", "pseudo_inputs")


def draw(
    trained: list[Trained], data: Dataset, output_dir: Path, *, with_holes: bool, projection: str = "pca"
) -> list[Figure]:
    """Draws the figures, of the first seed of each prior, and gives their captions; those that tell most first."""
    names = [*_draw_images(trained, data, output_dir), _draw_curves(trained, data, output_dir)]
    drop_if_many()
    in_r_n = {short_name(prior.name): is_euclidean(prior.model(0)) for prior in trained}
    if with_holes:
        if any(in_r_n.values()):
            names += _draw_holes([prior for prior in trained if is_euclidean(prior.model(0))], data, output_dir)
        drop_if_many()
        names += _draw_latent_space([prior.model(0) for prior in trained], data, output_dir, projection)
    for prior in trained:
        if has_pseudo_inputs(prior.vae.prior) and "pseudo_inputs" not in names:
            names.append(_draw_pseudo_inputs(prior, data, output_dir))
    names.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    return [_captioned(name, in_r_n) for name in names]


def _captioned(name: str, in_r_n: dict[str, bool]) -> Figure:
    """A figure with its caption and, by whether the latents of each prior are in R^n, what it leaves out or maps."""
    title, caption = CAPTIONS[name]
    if name in IN_R_N:
        caption += not_in_r_n([prior for prior, is_drawn in in_r_n.items() if not is_drawn])
    if name == "encodings" and "hyperbolic" in in_r_n:
        caption += " Hyperbolic latents are drawn by their logarithms at the origin, tangent vectors."
    return Figure(f"{name}.png", title, caption)


def not_in_r_n(left_out: list[str]) -> str:
    """A sentence on the priors that a figure leaves out because their latents are not in R^n; empty without any."""
    return f" Left out are priors over other spaces than R^n: {', '.join(left_out)}." if left_out else ""


def _draw_latent_space(models: list[Model], data: Dataset, output_dir: Path, projection: str) -> list[str]:
    """Draws encodings and prior, and for models without labels interpolations and samples by component."""
    latent_space.draw_planes(output_dir / "encodings.png", models, data, projection)
    names, free = ["encodings"], [model for model in models if not model.conditional]
    if in_r_n := [model for model in free if is_euclidean(model)]:
        latent_space.draw_interpolations(output_dir / "interpolations.png", in_r_n[:MOST_INTERPOLATED], data)
        names.append("interpolations")
    if mixtures := [model for model in free if isinstance(model.example_prior(data), vp.Mixture)]:
        latent_space.draw_components(output_dir / "components.png", mixtures, data)
        names.append("components")
    return names


def _draw_images(trained: list[Trained], data: Dataset, output_dir: Path) -> list[str]:
    """Draws samples and reconstructions."""
    num = min(36, len(data.test["x"]))
    x = data.test["x"][:num]
    samples: dict[str, np.ndarray] = {"test images": x}
    reconstructions: dict[str, np.ndarray] = {}
    for prior in trained:
        model = prior.model(0)
        context = {name: jnp.asarray(value[:num]) for name, value in model.context(data.test).items()}
        labels = " (labels of the test images)" if context else ""
        samples[short_name(prior.name) + labels] = np.asarray(measures.generate(model, data, num, mean=True))
        networks = without_prior(model.vae, model.params)
        images = np.asarray(_reconstruct(*networks, jnp.asarray(x), context))
        reconstructions[short_name(prior.name)] = figures.interleave(x[:24], images[:24], 8)
    title = f"{data.name}: means of p(x|z), z from each prior"
    figures.image_panels(output_dir / "samples.png", samples, num_columns=6, title=title)
    title = f"{data.name}: test images, and below each its reconstruction"
    figures.image_panels(output_dir / "reconstructions.png", reconstructions, num_columns=8, title=title)
    return ["samples", "reconstructions"]


def _draw_curves(trained: list[Trained], data: Dataset, output_dir: Path) -> str:
    """Draws the ELBO of training and validation images by epoch."""
    curves = {}
    for prior in trained:
        conditional = ", of log p(x|y)" if prior.vae.encoder_context else ""
        history = prior.result.history
        curves[short_name(prior.name) + conditional] = (history["elbo"], history["validation_elbo"])
    title = f"{data.name}: ELBO by epoch, one line a seed"
    figures.training_curves(output_dir / "training_curves.png", curves, title=title)
    return "training_curves"


def _draw_holes(trained: list[Trained], data: Dataset, output_dir: Path) -> list[str]:
    """Draws the holes on a plane that all priors share and, above two dimensions, where each is most different."""
    names = ["hole_maps"]
    maps = {short_name(prior.name): measures.hole_map(prior.model(0), data) for prior in trained}
    title = f"{data.name}: prior holes, plane of two principal components"
    figures.hole_maps(output_dir / "hole_maps.png", maps, title=title)
    if len(next(iter(maps.values())).origin) > 2:
        names.append("hole_differences")
        maps = {
            short_name(prior.name): measures.hole_map(prior.model(0), data, plane="difference") for prior in trained
        }
        title = f"{data.name}: prior holes, where q(z) and p(z) differ most"
        figures.hole_maps(output_dir / "hole_differences.png", maps, title=title)
    return names


def _draw_pseudo_inputs(trained: Trained, data: Dataset, output_dir: Path) -> str:
    """Draws the pseudo-inputs of a VampPrior beside training images."""
    inputs = np.asarray(vp.pseudo_inputs(trained.vae.prior, trained.model(0).params.prior))[:50]
    panels = {f"{len(inputs)} pseudo-inputs": inputs, "training images": data.train["x"][: len(inputs)]}
    title = f"{data.name}: pseudo-inputs of the VampPrior beside training images"
    figures.image_panels(output_dir / "pseudo_inputs.png", panels, num_columns=10, title=title)
    return "pseudo_inputs"
