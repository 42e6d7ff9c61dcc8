"""Many devices and many processes.

`fit`, `make_train_step`, `log_marginal` and `evaluate_elbo` take a mesh. Its devices share the examples and
each batch, all of them hold the parameters, and the results are those of one device up to float error.

    # train.py
    import os

    from vaepriors_jax import parallel

    if "COORDINATOR" in os.environ:  # before anything else of JAX's; each process then loads its own share of x
        parallel.initialize(os.environ["COORDINATOR"], int(os.environ["NUM_PROCESSES"]), int(os.environ["PROCESS_ID"]))
    mesh = parallel.make_mesh()  # make_mesh(4): replicas over 4 devices, examples over the rest
    result = vp.fit(vae, params, key, {"x": x}, optimizer, num_epochs=5, batch_size=80, mesh=mesh)
    estimate = vp.log_marginal(vae, result.params, key, x, mesh=mesh)

How to start it:

    python train.py                                                         # one machine, all its devices
    XLA_FLAGS=--xla_force_host_platform_device_count=8 python train.py      # 8 (virtual CPU) devices
    COORDINATOR=10.0.0.1:1234 NUM_PROCESSES=2 PROCESS_ID=0 python train.py  # on each machine, with its own PROCESS_ID

- The data set is the shares of all processes in their order. The shares need not be of one size.
- `batch_size` counts all devices, and is a multiple of their number.
- Checkpoints go to a folder that all machines see.
- When a process is lost, the others end within a minute, with a message. Start all of them again, and `fit` goes on
  from the last checkpoint.

Example:
    >>> import jax, jax.numpy as jnp, optax, vaepriors_jax as vp
    >>> vae = vp.VAE(
    ...     encode=lambda params, x: vp.normal_diag(params @ x, jnp.ones(2)),
    ...     decode=lambda params, z: vp.bernoulli(params @ z),
    ...     prior=vp.standard_normal(2),
    ... )
    >>> params = vp.VAEParams(0.1 * jnp.ones((2, 4)), 0.1 * jnp.ones((4, 2)), {})
    >>> x = jax.random.bernoulli(jax.random.key(1), 0.3, (24, 4)).astype(jnp.float32)
    >>> mesh = vp.parallel.make_mesh()
    >>> evaluated = vp.evaluate_elbo(vae, params, jax.random.key(0), x, mesh=mesh)
    >>> print(evaluated.elbo.shape)
    (24,)
"""

from vaepriors_jax.parallel.distributed import initialize
from vaepriors_jax.parallel.sharding import make_mesh

__all__ = [
    "initialize",
    "make_mesh",
]
