"""Measures what float32 loses in a flow, by depth, width and weights.

`python -m tests.flows.float32_errors` prints the table in the docstring of `vp.repeat`.
"""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

import vaepriors_jax as vp
from tests.cases import perturbed

DIM, NUM_POINTS, NUM_STEPS, BATCH_SIZE = 8, 1000, 3000, 100
ROW = re.compile(r"\| (\d+) `(\w+)` \| (\d+) \| (trained|[\d.]+) \| (\S+) \| (\S+) \|")


class Errors(NamedTuple):
    """The largest errors over all points: of inverse(forward(u)), and of the inverse's log-determinant in nats."""

    round_trip: float
    log_det: float


def make(name: str, num_layers: int, width: int) -> vp.Flow:
    layer = getattr(vp, name)(DIM, hidden=(width, width))
    return vp.repeat(layer if name.endswith("coupling") else vp.chain(layer, vp.permute(DIM)), num_layers)


def noisy(flow: vp.Flow, noise: float) -> Any:
    """Parameters at the start plus N(0, noise^2)."""
    return perturbed(jax.jit(flow.init)(jax.random.key(0)), jax.random.key(1), noise)


def trained(flow: vp.Flow) -> Any:
    """Parameters after maximum likelihood on the first principal components of the digits, at unit variance."""
    x = load_digits().data
    left, _, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    data = jnp.asarray(left[:, :DIM] * np.sqrt(len(x)), jnp.float32)
    prior, optimizer = vp.transformed(vp.standard_normal(DIM), flow), optax.adam(1e-3)

    def step(state: Any, key: jax.Array) -> Any:
        params, opt_state = state
        batch = data[jax.random.randint(key, (BATCH_SIZE,), 0, len(data))]
        gradient = jax.grad(lambda params: -prior.apply(params).log_prob(batch).mean())(params)
        updates, opt_state = optimizer.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    start = jax.jit(prior.init)(jax.random.key(0))
    keys = jax.random.split(jax.random.key(3), NUM_STEPS)
    (params, _), _ = jax.jit(lambda start: jax.lax.scan(step, start, keys))((start, optimizer.init(start)))
    return params["flow"]


def errors(flow: vp.Flow, params: Any) -> Errors:
    u = jax.random.normal(jax.random.key(2), (NUM_POINTS, DIM))

    @jax.jit
    def there_and_back(params: Any, u: jax.Array) -> Any:
        z = flow.apply(params).forward(u)
        return z, *flow.apply(params).inverse_and_log_det(z)

    z, back, log_det = (np.asarray(array, np.float64) for array in there_and_back(params, u))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        exact = np.asarray(jax.jit(lambda params, z: flow.apply(params).inverse_and_log_det(z)[1])(wide, z))
    return Errors(float(np.abs(back - u).max()), float(np.abs(log_det - exact).max()))


def measured(row: tuple[str, ...]) -> Errors:
    """The errors of a row of the table."""
    num_layers, name, width, weights, *_ = row
    flow = make(name, int(num_layers), int(width))
    return errors(flow, trained(flow) if weights == "trained" else noisy(flow, float(weights)))


def rows() -> list[tuple[str, ...]]:
    return ROW.findall(vp.repeat.__doc__ or "")


if __name__ == "__main__":
    for row in rows():
        found = measured(row)
        print(
            f"| {row[0]} `{row[1]}` | {row[2]} | {row[3]} | {found.round_trip:.0e} | {found.log_det:.0e} |", flush=True
        )
