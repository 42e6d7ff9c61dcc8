"""A VampPrior for a VAE of sentences: pseudo-inputs are sequences of embeddings, with masks of their own.

python -m experiments.examples.vamp_tokens
"""

import distrax
import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp

VOCABULARY, LENGTH, WIDTH, DIM = 50, 8, 6, 2


def simulate(count, seed):
    """Sentences on one of two topics, of 3 to 8 tokens; the mask says which places hold one."""
    generator = np.random.default_rng(seed)
    topic = generator.integers(0, 2, count)[:, None]
    tokens = generator.integers(0, VOCABULARY // 2, (count, LENGTH)) + topic * (VOCABULARY // 2)
    mask = np.arange(LENGTH) < generator.integers(3, LENGTH + 1, count)[:, None]
    return {"x": np.where(mask, tokens, 0), "mask": mask}


def encode(params, x, *, mask):
    """q(z|x) of tokens [T], which are embedded, or of embeddings [T, E], such as those of pseudo-inputs."""
    embedded = params["table"][x] if jnp.issubdtype(x.dtype, jnp.integer) else x
    mean = jnp.sum(embedded * mask[:, None], axis=0) / jnp.sum(mask)
    loc, log_scale = jnp.split(params["weight"] @ mean, 2)
    return vp.normal_diag(loc, jnp.exp(log_scale))


def decode(params, z, *, mask):
    """p(x|z), in which places without a token are certain."""
    logits = jnp.where(mask[:, None], params["weight"] @ z + params["bias"], -1e9 * (jnp.arange(VOCABULARY) > 0))
    return distrax.Independent(distrax.Categorical(logits), 1)


def main():
    """Trains the VAE, and names the token that is nearest to each place of a pseudo-input."""
    train = simulate(1000, seed=1)
    # The space of embeddings has no bounds.
    prior = vp.vamp(6, (LENGTH, WIDTH), bounds=None, covariates={"mask": {"boolean": True, "shape": (LENGTH,)}})
    vae = vp.VAE(encode, decode, prior, encoder_context=("mask",), decoder_context=("mask",))
    keys = jax.random.split(jax.random.key(0), 5)
    table = jax.random.normal(keys[0], (VOCABULARY, WIDTH))
    params = vp.VAEParams(
        encoder={"table": table, "weight": 0.1 * jax.random.normal(keys[1], (2 * DIM, WIDTH))},
        decoder={"weight": 0.1 * jax.random.normal(keys[2], (VOCABULARY, DIM)), "bias": jnp.zeros(VOCABULARY)},
        prior=vp.init_from_data(prior, keys[3], x=table[train["x"]], mask=train["mask"]),
    )
    result = vp.fit(vae, params, keys[4], train, optax.adam(1e-2), num_epochs=5, progress=False)
    print(f"ELBO: {result.history['elbo'][-1]:.2f} nats")
    inputs = vp.pseudo_inputs(prior, result.params.prior)
    distances = jnp.linalg.norm(inputs[:, :, None] - result.params.encoder["table"], axis=-1)
    mask = vp.pseudo_covariates(prior, result.params.prior)["mask"]
    print(f"nearest tokens, -1 where there is none:\n{jnp.where(mask, jnp.argmin(distances, axis=-1), -1)}")


if __name__ == "__main__":
    main()
