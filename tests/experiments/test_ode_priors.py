"""Priors whose density is the solution of an ODE, in the programs: where they go, and log p(x) on fewer images."""

import math
from dataclasses import replace
from importlib import import_module

import jax
import numpy as np
import pytest
from scipy import stats

import vaepriors_jax as vp
from experiments.comparison.compare import compare
from experiments.measures import EvaluationSettings
from experiments.measures.keys import KEYS
from experiments.measures.likelihood import kept_log_marginals, log_marginals_folder
from experiments.models import families
from experiments.models.trained import Model
from experiments.models.vaes import make_vae
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.report.answer import answer, scores_of
from experiments.report.comparison import summarize
from experiments.report.comparison_tables import tables
from experiments.report.recommendation import recommend
from experiments.report.summaries import of_comparison
from experiments.report.two_way import difference
from tests.experiments.test_compare_priors import SMALL
from tests.experiments.test_networks import SIZES, grey

CONFIG = Config(priors=("standard",), num_components=4, batch_size=10)
module = import_module("experiments.measures.likelihood")  # its package has a function of the same name
NUM_TEST, NUM_ROWS = 200, 100


def test_flow_matching_is_for_refit_and_diffusion_for_both():
    pytest.importorskip("diffrax")
    data = grey(num_levels=2)
    with pytest.raises(ValueError, match=r"Expected flow_matching as --refit.*--priors standard --refit flow_matching"):
        resolve(replace(CONFIG, priors=("standard", "flow_matching")), data)
    chosen = resolve(replace(CONFIG, refit=("flow_matching", "diffusion")), data)
    assert chosen.refit == ("flow_matching", "diffusion")
    every = families.all_names(SIZES, data)
    assert "diffusion" in every
    assert "flow_matching" not in every


def test_without_diffrax_they_are_refused_by_name_and_left_out_of_all(monkeypatch, capsys):
    monkeypatch.setattr(families, "find_spec", lambda name: None)
    data, message = grey(num_levels=2), r"package diffrax.*ODE of {}; it is not.*pip install 'vaepriors_jax\[diffrax\]'"
    for name, options in (("diffusion", {"priors": ("diffusion",)}), ("flow_matching", {"refit": ("flow_matching",)})):
        with pytest.raises(ValueError, match=message.format(name)):
            resolve(replace(CONFIG, **options), data)
    every = resolve(replace(CONFIG, priors=(families.ALL,)), data).priors
    assert "diffusion" not in every
    assert "'diffusion' is left out" in capsys.readouterr().out
    resolve(CONFIG, data)
    assert "diffrax" not in capsys.readouterr().out


def test_log_p_of_x_is_that_of_evenly_chosen_images_and_nan_elsewhere(tmp_path, monkeypatch):
    """With N(0, I), taken for a prior that solves an ODE."""
    monkeypatch.setattr(module, "prior_solves_ode", lambda prior: True)
    data = grey(num_levels=2)
    data = data._replace(test={name: np.repeat(array, 10, axis=0) for name, array in data.test.items()})
    vae, init = make_vae("standard", SIZES, data)
    model = Model("standard", 0, vae, init(jax.random.key(0)))
    rows = module.estimated_rows(model, data)
    assert (len(rows), rows[0], rows[-1]) == (NUM_ROWS, 0, NUM_TEST - 1)
    assert set(np.diff(rows)) == {2, 3}

    monkeypatch.setattr(module, "NUM_SOLVED_SAMPLES", 100)
    settings = EvaluationSettings(num_samples=120, folder=log_marginals_folder(tmp_path, "standard", 0))
    row = module.likelihood(model, data, settings)
    kept = kept_log_marginals(tmp_path, "standard", 0)
    assert len(kept) == NUM_TEST
    np.testing.assert_array_equal(np.flatnonzero(~np.isnan(kept)), rows)
    assert (row["log_marginal_num_images"], row["log_marginal_num_samples"]) == (NUM_ROWS, 100)
    assert row["log_marginal"] == pytest.approx(np.mean(kept[rows]))
    assert row["log_marginal_standard_error"] == pytest.approx(stats.sem(kept[rows]))
    assert all(math.isfinite(value) for value in row.values())
    key = jax.random.fold_in(KEYS["log_marginal"], 0)
    expected = vp.log_marginal(vae, model.params, key, data.test["x"][rows], num_samples=100)
    np.testing.assert_allclose(kept[rows], expected.values, rtol=1e-5)


def test_other_priors_have_all_images_and_samples():
    data = grey(num_levels=2)
    vae, init = make_vae("standard", SIZES, data)
    model, settings = Model("standard", 0, vae, init(jax.random.key(0))), EvaluationSettings(num_samples=120)
    row = module.likelihood(model, data, settings)
    key = jax.random.fold_in(KEYS["log_marginal"], 0)
    expected = vp.log_marginal(vae, model.params, key, data.test["x"], num_samples=120)
    assert row["log_marginal"] == pytest.approx(float(expected.values.mean()))
    assert not [name for name in row if "num_" in name]


def rows_with(folder, gain=1.0, num_failed=0):
    """Rows of two priors whose densities are known, and of one with log p(x) on half of the images."""
    rng = np.random.default_rng(0)
    shared = rng.normal(-100, 20, NUM_TEST)  # how easy an image is
    values = {name: shared + rng.normal(0, 0.5, NUM_TEST) for name in ("standard", "mixture", "diffusion")}
    values["mixture"] += 0.5
    values["diffusion"][np.argsort(shared)[: NUM_TEST // 2]] = np.nan  # the half with lower log p(x)
    values["diffusion"] += gain
    values["diffusion"][np.argsort(shared)[-num_failed:] if num_failed else []] = np.nan
    rows = []
    for prior, of_images in values.items():
        path = log_marginals_folder(folder, prior, 0) / "log_marginal-0.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, values=of_images)
        fewer = {"log_marginal_num_images": NUM_ROWS, "log_marginal_num_samples": 50} if prior == "diffusion" else {}
        test = {"log_marginal": float(np.nanmean(of_images)), "elbo": -101.0} | fewer
        cost = {"num_parameters": 10, "seconds_per_epoch": 1.0, "replicas_at_once": 1}
        rows.append({"prior": prior, "seed": 0, "test": test} | cost)
    return rows, values


def test_differences_are_over_the_images_that_both_priors_have(tmp_path):
    rows, values = rows_with(tmp_path)
    scores = scores_of(rows, tmp_path)["log_marginal"]
    there = ~np.isnan(values["diffusion"])
    for other in ("standard", "mixture"):
        found = difference(scores, "diffusion", other)
        expected = stats.ttest_rel(values["diffusion"][there], values[other][there])
        assert found.p_value == pytest.approx(expected.pvalue)
        assert found.mean / found.standard_error == pytest.approx(expected.statistic)
    whole = difference(scores, "mixture", "standard")
    assert whole.p_value == pytest.approx(stats.ttest_rel(values["mixture"], values["standard"]).pvalue)

    answered = answer(rows, tmp_path)
    # Its mean is higher than others by 15 nats for the choice of images alone.
    gain = answered.differences["log_marginal"]["diffusion"]
    assert gain.mean == pytest.approx(1.0, abs=0.3)
    for text in (
        "diffusion has the highest log p(x)",
        "log p(x) of diffusion is estimated on 100 of the 200 test images with S = 50",
        f"over the same images; in nats: diffusion {gain.mean:+.2f} ±",
        "a gain over a prior that has more of them is understated",
    ):
        assert text in answered.words


def test_the_best_prior_is_the_best_on_the_same_images(tmp_path):
    rows, _ = rows_with(tmp_path, gain=0.2)
    assert rows[2]["test"]["log_marginal"] > rows[1]["test"]["log_marginal"] + 5
    assert answer(rows, tmp_path).words.startswith("mixture has the highest log p(x)")


@pytest.mark.filterwarnings("error")
def test_a_density_that_failed_and_runs_without_values_by_image_give_no_difference(tmp_path):
    rows, _ = rows_with(tmp_path, num_failed=1)
    assert np.isnan(answer(rows, tmp_path).differences["log_marginal"]["diffusion"].mean)
    assert answer(rows, tmp_path).words.startswith("mixture has the highest log p(x)")
    answered = answer(rows, tmp_path / "nothing")  # of which only the means are known
    assert np.isnan(answered.differences["log_marginal"]["diffusion"].mean)
    assert answered.differences["log_marginal"]["mixture"].mean == pytest.approx(0.5, abs=0.2)


def test_tables_mark_what_is_of_fewer_images(tmp_path):
    summary = summarize(rows_with(tmp_path)[0])
    for table in (of_comparison(summary), tables(summary)[0]):
        assert ["‡" in row[1] for row in table.rows] == [False, False, True]
        assert "On 100 evenly chosen test images with S = 50" in " ".join(table.notes)
        others = of_comparison(summary[:2])
        assert "‡" not in " ".join([*others.notes, *(cell for row in others.rows for cell in row)])


@pytest.mark.nightly
def test_both_are_compared_from_end_to_end(tmp_path):
    pytest.importorskip("diffrax")
    options = {"priors": ("standard", "diffusion"), "refit": ("flow_matching",), "seeds": 1, "num_test": 120}
    content = compare(Config(**options, **SMALL, output_dir=str(tmp_path)))
    assert [row["prior"] for row in content["rows"]] == ["standard", "standard, refit flow_matching", "diffusion"]
    for row in content["rows"]:
        test = row["test"]
        assert test.get("log_marginal_num_images") == (None if row["prior"] == "standard" else 100)
        assert ("log_marginal_annealed" in test) == (row["prior"] == "standard")
        assert all(math.isfinite(value) for value in [*test.values(), *row["holes"].values()])
    assert "estimated on 100 of the 120 test images with S = 10" in content["answer"]
    measured = {row["prior"]: {name: [value] for name, value in row["test"].items()} for row in content["rows"]}
    for row in content["rows"]:
        measured[row["prior"]]["seconds_per_epoch"] = [row["seconds_per_epoch"]]
    assert recommend(measured).prior in measured
