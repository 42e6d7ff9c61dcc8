"""Warnings of training that goes on but has gone wrong, each given once a run, and the causes of failures.

Every tenth epoch a small program runs each replica on a few examples. What training computes does not change.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import distrax
import jax
import jax.numpy as jnp
import numpy as np

from vaepriors_jax.base import chain_of
from vaepriors_jax.distributions.mixture import Mixture
from vaepriors_jax.distributions.normal import is_normal_diag, location_and_scale
from vaepriors_jax.distributions.two_level import TwoLevel
from vaepriors_jax.parallel.sharding import Sharded, to_one_device
from vaepriors_jax.priors.vamp import has_pseudo_inputs, pseudo_inputs
from vaepriors_jax.training.epoch import FitState
from vaepriors_jax.training.placed_stream import PlacedStream
from vaepriors_jax.training.prepare import Run
from vaepriors_jax.training.streams import evenly
from vaepriors_jax.training.transforms import Batch, Transform
from vaepriors_jax.trees import num_rows, take_rows
from vaepriors_jax.vae import VAE, VAEParams, context_of

# Epochs at the full weight of the KL before a guard speaks, and between two looks at the parameters.
PATIENCE = 10
NUM_EXAMPLES, NUM_PSEUDO_INPUTS = 64, 500  # that are looked at
COLLAPSED = 0.01  # nats
ONE_COMPONENT = 0.99  # of the latents
STILL, SAME = 1e-6, 0.01  # distances between pseudo-inputs, in units of the range of the data


class Guards:
    """The guards of one run of `fit`."""

    def __init__(self, run: Run):
        """Keeps the pseudo-inputs from which the run starts, where it has some that learn."""
        self.run = run
        self.known: set[tuple[str, int]] = set()
        factories = [prior.config.get("factory") for prior in chain_of(run.options.vae.prior)]
        learns = has_pseudo_inputs(run.options.vae.prior) and "stop_gradient" not in factories
        self.first = {r: self._pseudo_inputs(run.start, r) for r in range(run.options.num_replicas) if learns}

    def after_epoch(self, state: FitState, history: list[dict[str, np.ndarray]]) -> list[str]:
        """Returns what to warn of after an epoch."""
        epoch, full = len(history), len(history) - self.run.options.objective.warmup_epochs
        if full < PATIENCE:
            return []
        kl = np.stack([row["kl"] for row in history[-PATIENCE:]])  # NaN where a replica has stopped
        found: dict[str, list[int]] = {}
        for replica in np.flatnonzero(~np.isnan(kl[-1])).tolist():
            for message in self._findings(state, replica, kl[:, replica], look=full % PATIENCE == 0):
                if (message, replica) not in self.known:
                    found.setdefault(message, []).append(replica)
                    self.known.add((message, replica))
        return [f"{_names(replicas)}, epoch {epoch}: {message}" for message, replicas in found.items()]

    def _examples(self) -> Batch | None:
        """A few training examples, spread over data that may be sorted by class; None with several processes."""
        if self.run.options.mesh is not None and jax.process_count() > 1:
            return None
        train: Any = self.run.train
        if isinstance(train, PlacedStream):
            examples = train.batches.spread.examples()
        else:
            arrays = train.arrays if isinstance(train, Sharded) else train
            examples = jax.tree.map(np.asarray, take_rows(arrays, evenly(num_rows(arrays), NUM_EXAMPLES)))
        return jax.tree.map(jnp.asarray, examples)

    def _findings(self, state: FitState, replica: int, kl: np.ndarray, look: bool) -> Iterator[str]:
        """What is wrong with one replica."""
        if (np.abs(kl) < COLLAPSED).all():
            yield (
                f"the posterior has collapsed: the KL stayed below {COLLAPSED} nats for {PATIENCE} epochs, so that the "
                "latents say nothing about x. Try a longer KL warm-up, free bits, a smaller beta or a weaker decoder."
            )
        examples = self._examples() if look else None
        if examples is None:
            return
        usage = self._look(state, replica, examples)["usage"]
        if usage is not None and len(usage) > 1 and usage.max() > ONE_COMPONENT:
            yield (
                f"the prior uses one of its {len(usage)} components. Start it from data (`vp.init_from_data`), or take "
                "fewer components."
            )
        if replica in self.first:
            first = self.first[replica]
            parts = jax.tree.leaves(examples["x"])
            # Pseudo-inputs of tokens live in another space than the data: that of their embeddings.
            of_data = first.shape[1:] == parts[0].shape[1:]
            unit = float(max(map(np.ptp, parts if of_data else [first]))) or 1.0
            yield from _pseudo_input_findings(self._pseudo_inputs(state, replica), first, unit)

    def _look(self, state: FitState, replica: int, examples: Batch) -> dict[str, Any]:
        """Smallest scales of encoder and decoder, and the usage of the prior's components; None where not known."""
        program = _program(self.run.options.vae, self.run.options.transform)
        return jax.tree.map(np.asarray, program(self._params(state, replica), examples))

    def cause_of_failure(self, state: FitState, replica: int) -> str:
        """What made a replica fail, as far as a look at a few examples tells."""
        examples = self._examples()
        if examples is None:
            return ""
        found = self._look(state, replica, examples)
        for name in ("encoder", "decoder"):
            if found[name] is not None and found[name] <= 0:
                return (
                    f"the {name}'s scale is {found[name]:.3g}, and must be positive. Pass it through `jnp.exp` or "
                    "`jax.nn.softplus`"
                )
        return ""

    def _params(self, state: FitState, replica: int) -> VAEParams:
        params = to_one_device(self.run.options.mesh, state.train.params)
        return _of_replica(params, replica)

    def _pseudo_inputs(self, state: FitState, replica: int) -> np.ndarray:
        """A copy of the pseudo-inputs in the space of the data: the next epoch reuses the memory of the state."""
        inputs = pseudo_inputs(self.run.options.vae.prior, self._params(state, replica).prior)
        return np.array(inputs[:NUM_PSEUDO_INPUTS])


@jax.jit
def _of_replica(params: VAEParams, replica: int) -> VAEParams:
    return jax.tree.map(lambda leaf: leaf[replica], params)


def unreached_beta(run: Run, num_epochs: int) -> list[str]:
    """What to warn of before training: a warm-up that is longer than the run."""
    warmup = run.options.objective.warmup_epochs
    if warmup <= num_epochs:
        return []
    return [
        f"the KL never gets its full weight: the warm-up lasts {warmup} epochs, and the run {num_epochs}. Train for "
        "more epochs, or lower `warmup_epochs`."
    ]


def _names(replicas: list[int]) -> str:
    return f"replica{'s' * (len(replicas) > 1)} {', '.join(map(str, replicas))}"


@lru_cache(maxsize=32)
def _program(vae: VAE, transform: Transform | None) -> Callable[[VAEParams, Batch], dict[str, Any]]:
    """The compiled look at one replica."""
    key = jax.random.key(0)

    def of_example(params: VAEParams, x: jax.Array, context: dict[str, jax.Array]) -> dict[str, Any]:
        posterior = vae.posterior(params, x, **context)
        z = posterior.sample(seed=key)
        prior, likelihood = vae.latent_prior(params, **context), vae.likelihood(params, z, **context)
        usage = _responsibilities(prior, z)
        return {"encoder": _smallest_scale(posterior), "decoder": _smallest_scale(likelihood), "usage": usage}

    def look(params: VAEParams, batch: Batch) -> dict[str, Any]:
        if transform is not None:
            batch = transform(key, batch)
        found = jax.vmap(of_example, (None, 0, 0))(params, batch["x"], context_of(batch))
        scales = {name: jax.tree.map(jnp.min, found[name]) for name in ("encoder", "decoder")}
        return scales | {"usage": jax.tree.map(lambda usage: jnp.mean(usage, axis=0), found["usage"])}

    return jax.jit(look)


def _smallest_scale(distribution: Any) -> jax.Array | None:
    """The smallest scale of a Gaussian; None for another distribution."""
    if isinstance(distribution, TwoLevel):
        return _smallest_scale(distribution.top)
    return jnp.min(location_and_scale(distribution)[1]) if is_normal_diag(distribution) else None


def _responsibilities(prior: Any, z: jax.Array) -> jax.Array | None:
    """The probability of each component given z [K], for a mixture or what is built on one; None for other priors."""
    if isinstance(prior, TwoLevel):
        return _responsibilities(prior.top, prior.split(z)[1])
    if isinstance(prior, distrax.Transformed):
        return _responsibilities(prior.distribution, prior.bijector.inverse(z))
    return prior.responsibilities(z) if isinstance(prior, Mixture) else None


def _pseudo_input_findings(now: np.ndarray, first: np.ndarray, unit: float) -> Iterator[str]:
    """What is wrong with pseudo-inputs, given those at the start, and the range of the data as the unit of length."""
    if np.abs(now - first).max() < STILL * unit:
        yield (
            "the pseudo-inputs have not moved. Check their learning rate; `vp.stop_gradient` around the prior says "
            "that they are meant to stay."
        )
    if _num_same(now, SAME * unit) > len(now) / 2:
        yield "most pseudo-inputs coincide. Start them from data (`vp.init_from_data`), or take fewer."


def _num_same(inputs: np.ndarray, distance: float) -> int:
    """How many of inputs [K, ...] have another one within a distance (root mean square over entries)."""
    rows = inputs.reshape(len(inputs), -1).astype(np.float64)
    rows = rows - rows.mean(0)
    squares = (rows**2).sum(1)
    apart = squares[:, None] + squares - 2 * rows @ rows.T + np.diag(np.full(len(rows), np.inf))
    return int((apart.min(1) < rows.shape[1] * distance**2).sum())
