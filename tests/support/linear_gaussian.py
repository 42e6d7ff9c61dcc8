"""A VAE whose posterior and log p(x) are known: p(x|z) = N(W z + b, s^2), p(z) = N(0, I), q(z|x) the true posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

import vaepriors_jax as vp

DATA_DIM, NOISE = 5, 0.7


def linear_gaussian_vae(num_examples: int = 8, latent_dim: int = 2):
    """Returns the VAE, its parameters, and examples [N, 5]."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(DATA_DIM, latent_dim))
    # Orthogonal columns make the true posterior diagonal.
    weight = np.linalg.qr(weight)[0] * np.array([2.0, 1.0, 1.5, 0.5][:latent_dim])
    bias = rng.normal(size=DATA_DIM)
    precision = 1 + (weight**2).sum(0) / NOISE**2
    vae = vp.VAE(
        encode=lambda params, x: vp.normal_diag(params["weight"] @ (x - params["bias"]), params["scale"]),
        decode=lambda params, z: vp.normal_diag(params["weight"] @ z + params["bias"], jnp.full(DATA_DIM, NOISE)),
        prior=vp.standard_normal(latent_dim),
    )
    encoder = {"weight": weight.T / NOISE**2 / precision[:, None], "bias": bias, "scale": precision**-0.5}
    params = vp.VAEParams(encoder, {"weight": weight, "bias": bias}, {})
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    z = rng.normal(size=(num_examples, latent_dim))
    x = z @ weight.T + bias + NOISE * rng.normal(size=(num_examples, DATA_DIM))
    return vae, params, jnp.asarray(x, jnp.float32)


def exact_log_marginal(params: vp.VAEParams, x) -> np.ndarray:
    """log p(x) [N] in float64."""
    weight = np.asarray(params.decoder["weight"], np.float64)
    covariance = weight @ weight.T + NOISE**2 * np.eye(DATA_DIM)
    return scipy.stats.multivariate_normal(np.asarray(params.decoder["bias"]), covariance).logpdf(np.asarray(x))
