"""A velocity between noise and data, and the loss of flow matching."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from vaepriors_jax.conditioning import Conditioner, run_network

PATHS = ("linear", "cosine")
FREQUENCIES = 4


class Conditional(NamedTuple):
    """Parameters of the network, and the condition [C] that it reads; None without one."""

    params: Any
    condition: jax.Array | None


@dataclass(frozen=True)
class LearnedVelocity:
    """The velocity v(u, t), or v(u, t, y): a network that reads u, t, waves of t, and the condition y."""

    network: Conditioner
    path: str

    def init(self, key: jax.Array, dim: int, condition: jax.Array | None = None) -> Any:
        """Parameters of the network for u [dim] and a condition [C]."""
        return self.network.init(key, self.features(jnp.zeros(()), jnp.zeros(dim)), condition)["params"]

    def features(self, t: jax.Array, u: jax.Array) -> jax.Array:
        """What the network reads, at t [] and u [dim]."""
        angles = jnp.pi * t.astype(u.dtype) * jnp.arange(1, FREQUENCIES + 1, dtype=u.dtype)
        return jnp.concatenate([u, t.astype(u.dtype)[None], jnp.sin(angles), jnp.cos(angles)])

    def __call__(self, given: Conditional, t: jax.Array, u: jax.Array) -> jax.Array:
        """The velocity [dim] at t [] and u [dim]."""
        return run_network(self.network, given.params, self.features(t, u), given.condition)

    def loss(self, given: Conditional, key: jax.Array, u: jax.Array) -> jax.Array:
        """The squared error of the velocity at one time between noise and u [dim]: the loss of flow matching."""
        key_time, key_noise = jax.random.split(key)
        t, noise = jax.random.uniform(key_time, (), u.dtype), jax.random.normal(key_noise, u.shape, u.dtype)

        def between(t: jax.Array) -> jax.Array:
            of_data, of_noise = (
                (t, 1 - t) if self.path == "linear" else (jnp.sin(jnp.pi / 2 * t), jnp.cos(jnp.pi / 2 * t))
            )
            return of_data * u + of_noise * noise

        place, target = jax.jvp(between, (t,), (jnp.ones_like(t),))
        return jnp.mean((self(given, t, place) - target) ** 2)
