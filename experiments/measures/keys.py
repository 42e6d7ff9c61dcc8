"""One key for each kind of measurement, the same for all models: differences are not those of the noise."""

import jax

KINDS = ("log_marginal", "elbo", "holes", "samples", "annealing", "latents")
KEYS = {name: jax.random.key(i + 2) for i, name in enumerate(KINDS)}
