"""Reports of a log p(x) that has an estimated normaliser in it."""

import numpy as np

from experiments.report.answer import answer
from experiments.report.comparison import summarize
from experiments.report.summaries import of_comparison


def rows():
    common = {"num_parameters": 10, "seconds_per_epoch": 1.0, "replicas_at_once": 1, "likelihood": "bernoulli"}
    values = {"log_marginal": -90.0, "elbo": -95.0, "reconstruction": -70.0, "kl": 25.0}
    estimated = values | {"log_marginal_normalizer_error": 0.03, "log_marginal_normalizer_bias": -0.0005}
    tests = [("standard", 0, values), ("standard", 1, values), ("snis", 0, estimated), ("snis", 1, estimated)]
    return [common | {"prior": prior, "seed": seed, "test": test} for prior, seed, test in tests]


def test_an_estimated_density_is_marked_with_its_error_and_the_direction_of_its_bias(tmp_path):
    table = of_comparison(summarize(rows()))
    columns = dict(zip(table.header, np.transpose(table.rows), strict=True))
    for title in ("log p(x)", "ELBO"):
        assert ["†" in cell for cell in columns[title]] == [False, True]
    said = "snis ± 0.03 nats, on average too low by 0.0005"
    assert said in " ".join(table.notes)
    assert said.removeprefix("snis") in answer(rows(), tmp_path).words
    exact = [row for row in rows() if row["prior"] == "standard"]
    assert "†" not in " ".join(of_comparison(summarize(exact)).notes)
    assert "normaliser" not in answer(exact, tmp_path).words
