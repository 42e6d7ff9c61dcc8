"""Tables from result files: runs of several seeds are averaged, and missing runs stay empty."""

import json

import pytest

from experiments import tables
from experiments.report import comparison, summaries

TEMPLATE = """Static MNIST.

Measured: not yet.
"""


def row(seed, log_marginal):
    test = {"log_marginal": log_marginal, "log_marginal_standard_error": 0.2, "active_units": 39}
    about = {"num_parameters": 10, "seconds_per_epoch": 1.0, "replicas_at_once": 1}
    return {"prior": "vamp", "seed": seed, "test": test, **about}


def summarized(log_marginal):
    """What a run of one seed says of it; the error is that over images."""
    return comparison.summarize([row(0, log_marginal)])[0]


def write(folder, name, found, summary, options=""):
    content = {
        "experiment": "compare_priors",
        "command": f"python -m experiments.configs.static_mnist_vamp{options}",
        "config": {"num_samples": 5000},
        "hardware": {"platform": "cpu", "processor": "abacus", "num_cores": 1},
        "versions": {"python": "3.11", "jax": "0.10"},
        "seconds": 60.0,
        "rows": [found],
        "summary": summary,
    }
    (folder / f"{name}.json").write_text(json.dumps(content))


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    write(tmp_path, "static_mnist_vamp", row(0, -86.0), [summarized(-86.0)])
    return tmp_path


def test_a_run_alone_has_the_error_of_its_images(results):
    filled = tables.fill_docstring("static_mnist_vamp", f'"""{TEMPLATE}"""')
    assert "Measured: 86.00 ± 0.20 (one seed, error over test images, S = 5000, 1 minutes, on 1 core" in filled


def test_runs_of_other_seeds_are_counted_in(results):
    for seed, value in ((1, -85.0), (2, -85.5)):
        write(results, f"static_mnist_vamp_seed{seed}", row(seed, value), [])
    filled = tables.fill_docstring("static_mnist_vamp", f'"""{TEMPLATE}"""')
    # The mean of 86, 85, 85.5, and their standard deviation of 0.5 over the root of 3.
    assert "Measured: 85.50 ± 0.29 (3 seeds, S = 5000, 3 minutes" in filled
    page = tables.fill("<!-- results: static_mnist_vamp -->\n<!-- end -->")
    assert "| vamp | -85.50 ± 0.29 |" in page
    assert "(seeds 0, 1, 2, each a run by `--seed`; S = 5000), 3.0 minutes on 1 core" in page


def test_several_runs_in_one_table(results):
    alone = [summarized(-84.5) | {"marginal_kl": {"mean": 1.0, "standard_error": None}, "seconds_per_epoch": None}]
    write(results, "static_mnist_flow", row(0, -84.5) | {"seconds_per_epoch": None}, alone)
    page = tables.fill("<!-- results: static_mnist_vamp, static_mnist_flow -->\n<!-- end -->")
    assert page.startswith("<!-- results: static_mnist_vamp, static_mnist_flow -->\n| prior | log p(x) |\n")
    assert "| `vamp` | -86.00\u00a0±\u00a00.20 |\n| `flow` |" in page  # what all names share is left out
    page = page.partition("<details>")[2]
    assert page.count("| prior |") == 2  # likelihood and latents; holes, which not all measured, are left out
    assert page.index("| `static_mnist_vamp` | -86.00") < page.index("| `static_mnist_flow` | -84.50")
    # A run that went on from its end has timed no epoch.
    assert page.count("| 10 | – |") == page.count("1.0 minutes (from a checkpoint) on 1 core") == 1
    assert page.count("\n- `static_mnist_") == 2


def test_other_options_are_told_beside_the_setting(results):
    options = " --gradients normalized --annealing 4 100 5 --output-dir runs/mine"
    write(results, "static_mnist_vamp_mine", row(0, -85.0), [summarized(-85.0)], options)
    write(results, "static_mnist_vamp_two_level", row(0, -83.0), [summarized(-83.0)])  # a setting of its own
    filled = tables.fill_docstring("static_mnist_vamp", f'"""{TEMPLATE}"""')
    assert "\nMeasured: 86.00" in filled
    assert "\nWith --gradients normalized: 85.00 ± 0.20 (one seed, error" in filled
    assert "83" not in filled


def test_what_was_not_run_is_not_made_up(results):
    filled = tables.fill_docstring("static_mnist_flow", f'"""{TEMPLATE}"""')
    assert filled.endswith('Measured: not yet.\n"""')


def test_saturated_measures_of_older_runs_are_not_shown(results):
    old = {"hole_mass": {"mean": 0.99, "standard_error": 0.01}, "marginal_kl": {"mean": 20.0, "standard_error": 0.1}}
    new = {name: {"mean": mean, "standard_error": 0.003} for name, mean in (("divergence", 0.25), ("accuracy", 0.81))}
    summary = [
        summarized(-86.0) | old,
        summarized(-85.0) | {"prior": "flow", "num_encodings": {"mean": 300.0, "standard_error": None}} | old | new,
    ]
    write(results, "static_mnist_vamp", row(0, -86.0), summary)
    page = tables.fill("<!-- results: static_mnist_vamp -->\n<!-- end -->")
    assert "| vamp | – | – | – | – |" in page
    assert "| flow | 0.250 ± 0.003 | 0.81 ± 0.00 | 0.990 ± 0.010 | – |" in page
    assert "the encodings of 300 held-out images" in page
    assert "20.0" not in page


@pytest.mark.parametrize(
    ("mean", "error", "written"),
    [
        (-22.479, 0.027, "-22.48 ± 0.03"),
        (15.157, 0.52, "15.2 ± 0.5"),
        (1234.6, 31.0, "1235 ± 31"),
        (0.42, None, "0.42"),
        (155.41, None, "155.4"),
        (0.0, 0.0, "0.00"),
        (-0.0004, 0.001, "0.00 ± 0.00"),
        (None, None, "–"),
        (float("nan"), 0.1, "–"),
    ],
)
def test_a_short_table_has_the_digits_that_errors_allow(mean, error, written):
    assert summaries.short(mean, error).replace("\u00a0", " ") == written


def test_a_summary_stands_alone_and_leads_the_full_tables(results):
    alone = tables.fill("<!-- results: static_mnist_vamp summary -->\n<!-- end -->")
    assert "| vamp | -86.00\u00a0±\u00a00.20 |" in alone
    assert "<details>" not in alone
    page = tables.fill("<!-- results: static_mnist_vamp -->\n<!-- end -->")
    assert page.index("| vamp | -86.00\u00a0±\u00a00.20 |") < page.index("<details>") < page.index("AIS - IW")
    assert page.endswith("</details>\n<!-- end -->")


def test_the_elbo_of_a_conditional_prior_is_not_put_beside_the_others():
    elbo, given = ({"elbo": {"mean": mean, "standard_error": 0.1}} for mean in (-90.0, -70.0))
    given |= {"log_marginal_given_label": {"mean": -68.0, "standard_error": 0.1}}
    table = summaries.of_comparison([{"prior": "standard", **elbo}, {"prior": "conditional", **given}])
    assert list(table.rows) == [("N(0, I)", "-90.00\u00a0±\u00a00.10"), ("conditional", "–")]


@pytest.mark.parametrize(
    ("published", "first"),
    [
        ("84.45 ± 0.12 (A et al. 2020), 84.97 (B 2019)", "84.45 ± 0.12"),
        ("82.42 (A 2018, unchecked)", "82.42 (unchecked)"),
        ("none found with these networks; 79.99 with others (C 2019)", "none found"),
    ],
)
def test_the_first_published_number_keeps_its_caveat(published, first):
    assert tables._first(published) == first


def test_the_help_changes_no_page(monkeypatch, capsys, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- results: configs -->\nold\n<!-- end -->\n")
    monkeypatch.setattr(tables, "PAGES", [page])
    monkeypatch.setattr(tables.configs, "NAMES", ())  # whose files stay as they are
    monkeypatch.setattr("sys.argv", ["tables.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        tables.main()
    assert "old" in page.read_text()
    monkeypatch.setattr("sys.argv", ["tables.py"])
    tables.main()
    assert "old" not in page.read_text()
    assert f"Filled {page}." in capsys.readouterr().out
    tables.main()
    assert capsys.readouterr().out == "All tables agree with the result files.\n"
