"""The spaces of latents beside R^n, so that densities with respect to different measures are not compared."""

from typing import Any

from tensorflow_probability.substrates.jax import distributions as tfd

from vaepriors_jax.distributions.gaussian_parameters import distribution_class

EUCLIDEAN, SPHERE, SIMPLEX = "R^n", "the unit sphere", "the simplex"
SPACES_OF_TFP = {
    tfd.PowerSpherical: SPHERE,
    tfd.SphericalUniform: SPHERE,
    tfd.VonMisesFisher: SPHERE,
    tfd.Dirichlet: SIMPLEX,
}


def space_of(distribution: Any) -> str:
    """The space over which a distribution is: its attribute `space`, or R^n for one that has none.

    Densities are with respect to Lebesgue measure on R^n, to the surface measure on the sphere, and to Lebesgue measure
    on all entries but the last on the simplex.
    """
    return getattr(distribution, "space", None) or SPACES_OF_TFP.get(distribution_class(distribution), EUCLIDEAN)


def check_same_space(q: Any, p: Any) -> None:
    """Raises ValueError unless q and p are over one space: a ratio of their densities would mean nothing."""
    spaces = space_of(q), space_of(p)
    if spaces[0] != spaces[1]:
        raise ValueError(
            f"Expected q and p over one space; q is over {spaces[0]} and p over {spaces[1]}. Let the encoder return "
            f"{POSTERIORS.get(spaces[1], 'a distribution over the latter')}, or take a prior over {spaces[0]}."
        )


def check_euclidean(what: str, distribution: Any) -> None:
    """Raises ValueError unless a distribution is over R^n."""
    if (space := space_of(distribution)) != EUCLIDEAN:
        raise ValueError(f"Expected a distribution over R^n for {what}; got one over {space}, where it has no meaning.")


# What an encoder returns for a prior over each space.
POSTERIORS = {
    EUCLIDEAN: "a distribution over R^n, such as `vp.normal_diag(loc, scale)`",
    SPHERE: "`vp.power_spherical(loc, concentration)`",
    SIMPLEX: "`vp.logistic_normal(loc, scale)` or `vp.dirichlet(concentration)`",
}
