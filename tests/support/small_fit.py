"""A small run of `vp.fit` with checkpoints, whose parameters and history are written to a file at the end."""

import jax
import numpy as np
import optax

import vaepriors_jax as vp
from tests.support.bernoulli_vae import bernoulli_vae, binary_data

if __name__ == "__main__":
    vae, params = bernoulli_vae()
    result = vp.fit(
        vae,
        params,
        jax.random.key(0),
        binary_data(),
        optax.adam(1e-2),
        num_epochs=60,
        batch_size=20,
        validation=binary_data(seed=1),
        checkpoints=vp.Checkpoints("checkpoints", every=1),
        progress=False,
    )
    leaves = {str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves((result.params, result.history)))}
    np.savez("fit.npz", **leaves)
