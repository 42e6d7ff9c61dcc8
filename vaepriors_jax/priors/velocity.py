"""A velocity between noise and data, and the loss of flow matching."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from vaepriors_jax.conditioning import Conditioner, run_network

PATHS = ("linear", "cosine")
FREQUENCIES = 4


@dataclass(frozen=True)
class LearnedVelocity:
    """The velocity v(u, t): a network that reads u, t and waves of t."""

    network: Conditioner
    path: str

    def init(self, key: jax.Array, dim: int) -> Any:
        """Parameters of the network for u [dim]."""
        return self.network.init(key, self.features(jnp.zeros(()), jnp.zeros(dim)))["params"]

    def features(self, t: jax.Array, u: jax.Array) -> jax.Array:
        """What the network reads, at t [] and u [dim]."""
        angles = jnp.pi * t.astype(u.dtype) * jnp.arange(1, FREQUENCIES + 1, dtype=u.dtype)
        return jnp.concatenate([u, t.astype(u.dtype)[None], jnp.sin(angles), jnp.cos(angles)])

    def __call__(self, params: Any, t: jax.Array, u: jax.Array) -> jax.Array:
        """The velocity [dim] at t [] and u [dim]."""
        return run_network(self.network, params, self.features(t, u))

    def loss(self, params: Any, key: jax.Array, u: jax.Array) -> jax.Array:
        """The squared error of the velocity at one time between noise and u [dim]: the loss of flow matching."""
        key_time, key_noise = jax.random.split(key)
        t, noise = jax.random.uniform(key_time, (), u.dtype), jax.random.normal(key_noise, u.shape, u.dtype)

        def between(t: jax.Array) -> jax.Array:
            of_data, of_noise = (
                (t, 1 - t) if self.path == "linear" else (jnp.sin(jnp.pi / 2 * t), jnp.cos(jnp.pi / 2 * t))
            )
            return of_data * u + of_noise * noise

        place, target = jax.jvp(between, (t,), (jnp.ones_like(t),))
        return jnp.mean((self(params, t, place) - target) ** 2)
