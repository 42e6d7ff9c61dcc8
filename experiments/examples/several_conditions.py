"""A prior p(z|site, age) of several named conditions, and examples of unequal weights.

python -m experiments.examples.several_conditions
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp

NUM_SITES = 3


def simulate(count, seed):
    """Examples x [4] whose latents depend on the site and on the age; young ones count half."""
    generator = np.random.default_rng(seed)
    site, age = generator.integers(0, NUM_SITES, count), generator.uniform(0, 1, count)
    z = np.stack([site - 1.0, 2 * age], axis=1) + 0.3 * generator.normal(size=(count, 2))
    x = np.concatenate([z, -z], axis=1) + 0.1 * generator.normal(size=(count, 4))
    return {
        "x": x.astype(np.float32),
        "site": site,
        "age": age.astype(np.float32),
        "weight": np.where(age < 0.5, 0.5, 1.0).astype(np.float32),
    }


def encode(params, x):
    """q(z|x)."""
    return vp.normal_diag(params["weight"] @ x, jnp.exp(params["log_scale"]))


def decode(params, z):
    """p(x|z)."""
    return vp.normal_diag(params["weight"] @ z, jnp.exp(params["log_scale"]))


def linear(key, num_inputs, num_outputs):
    """Parameters of a linear map and of scales."""
    return {"weight": 0.3 * jax.random.normal(key, (num_outputs, num_inputs)), "log_scale": jnp.zeros(num_outputs)}


def main():
    """Trains the VAE, evaluates it, and generates for each site at two ages."""
    train, test = simulate(1000, seed=1), simulate(200, seed=2)
    # The network of the prior reads the site one-hot [3] and the age [1].
    prior = vp.conditioned(
        vp.conditional_normal(2, condition_dim=NUM_SITES + 1, hidden=(16,)),
        {"site": {"num_classes": NUM_SITES}, "age": {}},
    )
    vae = vp.VAE(encode, decode, prior)
    keys = jax.random.split(jax.random.key(0), 6)
    params = vp.VAEParams(linear(keys[0], 4, 2), linear(keys[1], 2, 4), prior.init(keys[2]))
    result = vp.fit(vae, params, keys[3], train, optax.adam(1e-2), num_epochs=10, progress=False)
    estimate = vp.log_marginal(vae, result.params, keys[4], num_samples=100, **test)
    print(f"log p(x|site, age): {estimate.mean:.2f} +- {estimate.standard_error:.2f} nats, a weighted mean")
    sites, ages = jnp.tile(jnp.arange(NUM_SITES), 2), jnp.repeat(jnp.array([0.1, 0.9]), NUM_SITES)
    x = vp.generate(vae, result.params, keys[5], 2 * NUM_SITES, site=sites, age=ages)
    for site, age, row in zip(sites, ages, x, strict=True):
        print(f"site {site}, age {age:.1f}: {np.round(np.asarray(row), 1)}")


if __name__ == "__main__":
    main()
