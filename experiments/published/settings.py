"""The settings of the ledger (data set, levels of latents, network, prior and seed), the most wanted ones first."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, NamedTuple

from experiments.options.config import Config
from experiments.published.datasets import DATASETS
from experiments.published.recipe import Recipe

_OWN = "experiments.published.priors"


class PublishedPrior(NamedTuple):
    """A prior of the ledger.

    Attributes:
        title: its name in tables.
        name: its name in `compare_priors`.
        minutes: of training and evaluation on static MNIST with one level, on two cores without other work; estimated.
        options: options of `compare_priors` beside those of the recipe.
    """

    title: str
    name: str
    minutes: int
    options: dict[str, Any] = {}


PRIORS = {
    "standard": PublishedPrior("N(0, I)", "standard", 45),
    "mixture": PublishedPrior("mixture, K = 500", "mixture", 60),
    "vamp": PublishedPrior("VampPrior, K = 500", "vamp", 80),
    "vamp_data": PublishedPrior("VampPrior-data, K = 500", "vamp_data", 75),
    "flow": PublishedPrior("RealNVP, 4 couplings", "flow", 65),
    "spline_flow": PublishedPrior("spline flow, 4 couplings", f"{_OWN}:spline_flow", 120),
    "flow_over_vamp": PublishedPrior("RealNVP over VampPrior", f"{_OWN}:flow_over_vamp", 110),
}
NETWORKS: dict[str, dict[str, Any]] = {
    "gated": {},  # 784-300-300-40, Tomczak & Welling (2018)
    "tanh": {"network": "tanh", "latent_dim": 50},  # 784-300-300-50, Bauer & Mnih (2019)
}
TWO_LEVELS_COST = 1.7


class Setting(NamedTuple):
    """One row of the ledger: what is trained, and with which seed."""

    data: str
    prior: str
    levels: int = 1
    network: str = "gated"
    seed: int = 0

    @property
    def name(self) -> str:
        """Its name, fit for a file."""
        levels = {1: "one_level", 2: "two_level"}[self.levels]
        network = "" if self.network == "gated" else f"_{self.network}"
        return f"{self.data}_{levels}{network}_{self.prior}_seed{self.seed}"

    @property
    def minutes(self) -> float:
        """What it costs on two cores without other work, estimated."""
        levels = TWO_LEVELS_COST if self.levels == 2 else 1.0
        return PRIORS[self.prior].minutes * levels * DATASETS[self.data].cost

    def config(self, recipe: Recipe) -> Config:
        """The options of `compare_priors` that train it."""
        prior = PRIORS[self.prior]
        return Config(
            dataset=DATASETS[self.data].source,
            priors=(prior.name,),
            levels=2 if self.levels == 2 else 1,
            seeds=1,
            seed=self.seed,
            checkpoints=True,
            **dict(recipe.options) | NETWORKS[self.network] | prior.options,
        )


MNIST = ("static_mnist", "dynamic_mnist")
MAIN = ("standard", "vamp")
MUST_HAVE = ("standard", "vamp", "flow", "mixture")


def _all(data: Iterable[str], priors: Iterable[str], **options: Any) -> Iterator[Setting]:
    """The settings of some data sets and priors."""
    return (Setting(one, prior, **options) for one, prior in product(data, priors))


def _in_order() -> Iterator[Setting]:
    """All settings; some are named twice."""
    yield from _all(MNIST, MUST_HAVE)
    for seed in (1, 2):
        yield from _all(MNIST, MAIN, seed=seed)
    yield from _all(MNIST, MAIN, levels=2)
    for seed in (1, 2):
        yield from _all(MNIST, MUST_HAVE, seed=seed)
    for seed in (0, 1, 2):
        yield from _all(("caltech101", "omniglot"), MAIN, seed=seed)
    yield from _all(MNIST, PRIORS)
    yield from _all(MNIST, ("standard", "flow"), network="tanh")
    yield from _all(("fashion_mnist",), MAIN)
    yield from _all(MNIST, ("mixture", "flow"), levels=2)
    for seed in (1, 2):
        yield from _all(MNIST, MAIN, levels=2, seed=seed)
    yield from _all(("caltech101", "omniglot"), MAIN, levels=2)
    yield from _all(("caltech101", "omniglot"), PRIORS)
    yield from _all(("fashion_mnist",), MAIN, levels=2)
    yield from _all(("omniglot",), ("standard", "flow"), network="tanh")


SETTINGS = tuple(dict.fromkeys(_in_order()))
