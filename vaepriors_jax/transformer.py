"""The causal transformer of autoregressive priors."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.lax import Precision


def _dense(features: int, use_bias: bool = True) -> nn.Dense:
    return nn.Dense(features, use_bias=use_bias, precision=Precision.HIGHEST)


def _layer_norm() -> nn.LayerNorm:
    return nn.LayerNorm(use_fast_variance=False)  # the fast one cancels where latents are far out


class CausalAttention(nn.Module):
    """Self-attention in which each token reads itself and the tokens before it."""

    features: int
    num_heads: int

    @nn.compact
    def __call__(self, tokens: jax.Array, first: jax.Array | int, cache: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Maps tokens [t, features] at the places first, first + 1, ..., given those before them.

        `cache` [2, T, heads, features / heads] holds keys and values of all places; it is returned with those of the
        tokens filled in.
        """
        shape = (tokens.shape[0], 3, self.num_heads, self.features // self.num_heads)
        query, key, value = jnp.moveaxis(_dense(3 * self.features, use_bias=False)(tokens).reshape(shape), 1, 0)
        new = jnp.stack([key, value])
        cache = jax.lax.dynamic_update_slice_in_dim(cache.astype(new.dtype), new, first, axis=1)
        scores = jnp.einsum("qhd,khd->hqk", query, cache[0], precision=Precision.HIGHEST) / shape[-1] ** 0.5
        is_read = jnp.arange(cache.shape[1]) <= first + jnp.arange(shape[0])[:, None]
        weights = jax.nn.softmax(jnp.where(is_read, scores, -jnp.inf), axis=-1)
        read = jnp.einsum("hqk,khd->qhd", weights, cache[1], precision=Precision.HIGHEST)
        return _dense(self.features)(read.reshape(tokens.shape)), cache


class CausalTransformer(nn.Module):
    """Transformer with outputs [dim, P], whose row i depends only on the inputs before i and on the condition.

    Token i is a linear map of the input before it, with a learned vector for its place. Each layer adds attention, then
    a perceptron of 4 features units, both of normalised tokens.
    """

    dim: int
    num_parameters: int
    num_layers: int
    num_heads: int
    features: int

    def empty_cache(self) -> jax.Array:
        """Keys and values [num_layers, 2, dim, heads, features / heads] of no token."""
        return jnp.zeros((self.num_layers, 2, self.dim, self.num_heads, self.features // self.num_heads))

    @nn.compact
    def advance(
        self, before: jax.Array, first: jax.Array | int, cache: jax.Array, condition: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Rows first, first + 1, ... [t, P] of the outputs, and the cache that the rows after them need.

        `before` [t] are the inputs before each of these rows: that before row 0 is 0.
        """
        tokens = _dense(self.features, use_bias=False)(before[:, None])
        places = self.param("places", nn.initializers.normal(1.0), (self.dim, self.features), jnp.float32)
        tokens += jax.lax.dynamic_slice_in_dim(places, first, len(before)).astype(tokens.dtype)
        if condition is not None:
            tokens += _dense(self.features, use_bias=False)(condition.astype(tokens.dtype))
        caches = []
        for past in cache:
            read, filled = CausalAttention(self.features, self.num_heads)(_layer_norm()(tokens), first, past)
            tokens += read
            hidden = nn.gelu(_dense(4 * self.features)(_layer_norm()(tokens)))
            tokens += _dense(self.features)(hidden)
            caches.append(filled)
        last = nn.Dense(
            self.num_parameters, use_bias=False, precision=Precision.HIGHEST, kernel_init=nn.initializers.zeros
        )
        return last(_layer_norm()(tokens)), jnp.stack(caches)

    def __call__(self, inputs: jax.Array, condition: jax.Array | None = None) -> jax.Array:
        """Maps [dim], and a condition [C] if there is one, to [dim, P]."""
        before = jnp.concatenate([jnp.zeros(1, inputs.dtype), inputs[:-1]])
        return self.advance(before, 0, self.empty_cache(), condition)[0]
