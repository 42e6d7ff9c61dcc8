"""A VampPrior for an encoder that reads a batch and an age beside x; each pseudo-input has its own.

python -m experiments.examples.vamp_covariates
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp

NUM_BATCHES, NUM_GENES, DIM = 3, 12, 2


def simulate(count, seed):
    """Measurements x of two kinds of cells, shifted by the batch and by the age."""
    generator = np.random.default_rng(seed)
    batch, age = generator.integers(0, NUM_BATCHES, count), generator.normal(size=count)
    kind = generator.integers(0, 2, count)
    pattern = np.random.default_rng(0).normal(size=(2 + NUM_BATCHES, NUM_GENES))
    x = 2 * pattern[kind] + pattern[2 + batch] + 0.3 * age[:, None] + generator.normal(size=(count, NUM_GENES))
    return {"x": x.astype(np.float32), "batch": batch, "age": age.astype(np.float32)}


def encode(params, x, *, batch, age):
    """q(z|x, batch, age)."""
    covariates = jnp.append(jax.nn.one_hot(batch, NUM_BATCHES), age)
    loc, log_scale = jnp.split(params["weight"] @ jnp.concatenate([x, covariates]) + params["bias"], 2)
    return vp.normal_diag(loc, jnp.exp(log_scale))


def decode(params, z, *, batch, age):
    """p(x|z, batch, age)."""
    covariates = jnp.append(jax.nn.one_hot(batch, NUM_BATCHES), age)
    return vp.normal_diag(params["weight"] @ jnp.concatenate([z, covariates]) + params["bias"], jnp.ones(NUM_GENES))


def linear(key, num_inputs, num_outputs):
    """Parameters of a linear layer."""
    return {"weight": 0.1 * jax.random.normal(key, (num_outputs, num_inputs)), "bias": jnp.zeros(num_outputs)}


def main():
    """Trains the VAE, looks at the covariates of its pseudo-inputs, and generates with one batch for each sample."""
    train, valid = simulate(1000, seed=1), simulate(500, seed=2)
    prior = vp.vamp(10, (NUM_GENES,), bounds=None, covariates={"batch": {"num_classes": NUM_BATCHES}, "age": {}})
    context = ("batch", "age")
    vae = vp.VAE(encode, decode, prior, encoder_context=context, decoder_context=context)
    keys = jax.random.split(jax.random.key(0), 5)
    params = vp.VAEParams(
        encoder=linear(keys[0], NUM_GENES + NUM_BATCHES + 1, 2 * DIM),
        decoder=linear(keys[1], DIM + NUM_BATCHES + 1, NUM_GENES),
        prior=vp.init_from_data(prior, keys[2], **train),  # each pseudo-input with the batch and the age of its example
    )
    result = vp.fit(vae, params, keys[3], train, optax.adam(1e-2), num_epochs=5, validation=valid, progress=False)
    print(f"validation ELBO: {result.history['validation_elbo'][-1]:.2f} nats")
    own = vp.pseudo_covariates(prior, result.params.prior)
    print(f"batches of the pseudo-inputs, which stay: {own['batch']}")
    print(f"their ages, which are learned: {np.round(np.asarray(own['age']), 2)}")
    x = vp.generate(vae, result.params, keys[4], NUM_BATCHES, batch=jnp.arange(NUM_BATCHES), age=0.0)
    print(f"a sample for each batch: {x.shape}")


if __name__ == "__main__":
    main()
