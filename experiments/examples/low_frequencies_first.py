"""A prior of two levels, as in the DVP-VAE: low frequencies u of an image, and latents p(z|u).

u is a function of x, a block of its cosine transform. The objective log p(x|u) + log r(u) then falls into two parts: a
conditional VAE, and a model r(u) of blocks, which is fitted apart. It is a lower bound on log p(x) where r(u) is a
probability of rounded blocks, as that of the diffusion model of Kuzina & Tomczak (2024). Where r(u) is a density of
real numbers it is none. What is printed here needs no such bound: it sums over many blocks.

python -m experiments.examples.low_frequencies_first
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import vaepriors_jax as vp
from experiments.data.dataset import load
from experiments.examples.missing_labels import DIM, Decoder, Encoder

BLOCK, NUM_BLOCKS = (3, 3), 500


def blocks_of(x):
    """The low frequencies [N, 9] of images."""
    return jax.vmap(lambda image: vp.low_frequencies(image, BLOCK).ravel())(x)


def main():
    """Trains both parts; prints log p(x) of test images, with blocks of the data and with blocks that r(u) draws."""
    data, keys = load("digits"), jax.random.split(jax.random.key(0), 7)
    x, test = data.fixed_train["x"], data.test["x"]  # binarised once, so that u is a function of x
    u, size = blocks_of(x), int(np.prod(BLOCK))

    conditional = vp.conditional_normal(DIM, condition_dim=size, condition="u", hidden=(64,))
    encoder, decoder = Encoder(), Decoder(data.image_shape)
    vae = vp.VAE(encoder.apply, decoder.apply, conditional)
    params = vp.VAEParams(encoder.init(keys[0], x[0]), decoder.init(keys[1], jnp.zeros(DIM)), conditional.init(keys[2]))
    options = {"num_epochs": 40, "batch_size": 100, "progress": False}
    validation = {"x": data.validation["x"], "u": blocks_of(data.validation["x"])}
    fitted = vp.fit(vae, params, keys[3], {"x": x, "u": u}, optax.adam(2e-3), validation=validation, **options).params
    given = vp.log_marginal(vae, fitted, keys[4], test, u=blocks_of(test), num_samples=200)
    print(f"log p(x|u), with u known: {given.mean:.2f} nats")

    r = vp.mixture(size, 10, covariance="full")
    drawn = r.apply(vp.init_from_data(r, keys[5], z=u)).sample(seed=keys[6], sample_shape=NUM_BLOCKS)
    # p(z) is a mixture over blocks. With those of the data it is exact; with samples of r its logarithm is, on average,
    # too low for the p(z) of all blocks.
    unknown = jnp.full((len(test), size), jnp.nan)
    for name, blocks in (("of training images", u[:NUM_BLOCKS]), ("that a mixture r(u) draws", drawn)):
        prior = vp.semi_supervised_vectors(conditional, blocks, condition="u")
        found = vp.log_marginal(vae._replace(prior=prior), fitted, keys[4], test, u=unknown, num_samples=200)
        print(f"log p(x), blocks {name}: {found.mean:.2f} +- {found.standard_error:.2f} nats")


if __name__ == "__main__":
    main()
