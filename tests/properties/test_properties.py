"""Log-densities, likelihoods and flows at random points and where formulas switch or arguments coincide."""

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests import cases
from tests.properties import flows, likelihoods, mixtures, priors
from tests.properties.row import check

ROWS = priors.ROWS | likelihoods.ROWS | flows.ROWS | mixtures.ROWS
SETTINGS = settings(
    derandomize=True, deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
)


def try_row(name: str, max_examples: int) -> None:
    row = ROWS[name]()

    @settings(SETTINGS, max_examples=max_examples)
    @given(row.arguments, st.integers(0, 1000))
    def holds(arguments, seed):
        check(row, *arguments, seed)

    holds()


@pytest.mark.parametrize("name", [name for name in ROWS if name.rsplit("_", 1)[0] not in cases.COMPOSED])
def test_properties(name):
    try_row(name, 6)


@pytest.mark.nightly
@pytest.mark.parametrize("name", ROWS)
def test_properties_of_many_examples(name):
    try_row(name, 300)
