"""Which priors that solve an ODE a run can have, and where."""

from experiments.models.families import ALL, FITTED_AFTERWARDS, SOLVE_ODE, has_diffrax
from experiments.options.settings import Settings

INSTALL = "pip install 'vaepriors_jax[diffrax]'"


def check_ode_priors(settings: Settings) -> None:
    """Refuses priors that solve an ODE where they have no place, and says if all families are without them.

    Raises:
        ValueError: diffrax is not installed, or a prior that is fitted afterwards is to be trained with the VAE.
    """
    if trained := [name for name in settings.priors if name in FITTED_AFTERWARDS]:
        raise ValueError(
            f"Expected {trained[0]} as --refit, since it is fitted to the encodings of a trained VAE; got it as "
            f"--priors. Write --priors standard --refit {trained[0]}, and --priors diffusion for a prior of this kind "
            "that is trained with the VAE."
        )
    if has_diffrax():
        return
    if named := [name for name in (*settings.priors, *settings.refit) if name in SOLVE_ODE]:
        raise ValueError(
            f"Expected the package diffrax, which solves the ODE of {' and '.join(named)}; it is not installed. "
            f"Install it: {INSTALL}"
        )
    if settings.priors == (ALL,):
        print(f"The package diffrax is not installed: the prior 'diffusion' is left out. Install it: {INSTALL}")
