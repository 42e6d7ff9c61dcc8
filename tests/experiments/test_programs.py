"""Small runs of the other programs: the figures and files that they write."""

import copy
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vaepriors_jax as vp
from experiments import (
    choose_prior,
    conditional_generation,
    generation_quality,
    measures,
    prior_visualization,
    pseudo_inputs,
)
from experiments.comparison.candidates import train_and_measure
from experiments.data.dataset import load, take_test
from experiments.measures import Model
from experiments.models.trained import Trained
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.report import comparison

SMALL = {"dataset": "digits", "epochs": 1, "warmup_epochs": 1, "latent_dim": 2, "num_components": 4, "num_test": 100}


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    """N(0, I) and two seeds, hardly trained, and what was measured of them: the tests share what is compiled."""
    digits = take_test(load("digits"), 100)
    options = {"priors": ("standard",), "seeds": 2, "hidden": (8,), "batch_size": 500, **SMALL}
    config = resolve(Config(**options), digits)
    return train_and_measure(config, digits, tmp_path_factory.mktemp("trained"))


@pytest.fixture
def candidates(standard):
    """The same under two names, where each seed of the second has a FID that is smaller by 1."""
    (trained,), rows = standard.trained, copy.deepcopy(standard.rows)
    for row in rows:
        row["prior"] = "mixture"
        row["samples"]["generated"]["fid"] -= 1
    rows = [*standard.rows, *rows]
    return standard._replace(
        trained=[trained, trained._replace(name="mixture")], rows=rows, summary=comparison.summarize(rows)
    )


@pytest.mark.slow
def test_the_latent_plane_is_drawn(standard, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(prior_visualization, "train", lambda *_: standard.trained[0])
    options = prior_visualization.Options(
        dataset="digits", priors=("standard",), num_points=100, output_dir=str(tmp_path)
    )
    prior_visualization.main(options)
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert row["prior"] == "standard"
    assert 0 <= row["hole_mass"][0] <= 1
    assert row["divergence"][0] < 0.694
    assert 0.4 < row["accuracy"][0] <= 1
    assert (tmp_path / "latent_plane.png").stat().st_size > 50_000
    assert "hole mass" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [({"latent_dim": 1}, "--latent-dim >= 2 for a picture of the plane; got 1"), ({"num_points": 0}, "--num-points")],
)
def test_a_plane_needs_two_dimensions(options, message):
    with pytest.raises(ValueError, match=message):
        prior_visualization.main(prior_visualization.Options(dataset="digits", **options))


@pytest.mark.slow
def test_pseudo_inputs_are_followed_and_measured(tmp_path, capsys):
    options = pseudo_inputs.Options(
        dataset="digits", num_components=6, starts=("data",), epochs=2, output_dir=str(tmp_path)
    )
    pseudo_inputs.main(options)
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    distance = row["distance"]
    # They start at training images, up to the map into (0, 1), and have hardly left them.
    assert distance["their start"][0] < 0.1 < distance["held-out images"][0] < distance["uniform noise"][0]
    assert row["share_within_pixels"] == 1
    for name in ("evolution_data", "neighbours_data", "distances"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
    printed = capsys.readouterr().out
    assert "Do the pseudo-inputs resemble training data?" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "figures", "words"),
    [
        (
            generation_quality,
            {"samples", "means", "scores"},
            "The FID of mixture is smaller than that of N(0, I): -1.00 ± 0.00 (p &lt; 0.001), larger than",
        ),
        (choose_prior, {"samples", "means", "scores", "hole_maps"}, "Recommended: mixture"),
    ],
)
def test_samples_of_two_priors_are_compared(program, figures, words, candidates, tmp_path, monkeypatch):
    monkeypatch.setattr(program, "train_and_measure", lambda *_: candidates)
    priors = {"priors": ("standard", "mixture"), "refit": (), "seeds": 2}
    program.main(program.Options(**priors, **SMALL, output_dir=str(tmp_path)))
    content = json.loads((tmp_path / "results.json").read_text())
    assert [(row["prior"], row["seed"]) for row in content["rows"]] == [
        (prior, seed) for prior in ("standard", "mixture") for seed in (0, 1)
    ]
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png") == len(figures)
    assert figures == {path.stem for path in tmp_path.glob("*.png")}
    assert words in page


def test_decoder_noise_is_shared():
    """Two models with one decoder that reads no z draw the same pixels, whatever their priors."""
    digits = load("digits")
    models = [
        Model("any", 0, vp.VAE(None, lambda params, z: vp.bernoulli(jnp.zeros((8, 8)) + 0 * z[0]), prior), None)
        for prior in (vp.standard_normal(2), vp.standard_normal(3))
    ]
    models = [one._replace(params=vp.VAEParams({}, {}, {})) for one in models]
    first, second = (np.asarray(measures.generate(one, digits, 5)) for one in models)
    np.testing.assert_array_equal(first, second)
    assert 0.4 < first.mean() < 0.6


@pytest.mark.slow
def test_each_class_is_asked_for(standard, tmp_path, monkeypatch):
    """The program on networks at their start; what it measures beside the shares is tested elsewhere."""

    def untrained(name, config, data, output_dir, made):
        vae, init = made
        params = jax.tree.map(lambda leaf: leaf[None], init(jax.random.key(0)))
        result = standard.trained[0].result._replace(params=params)
        return Trained(name, vae, result, (0,))

    monkeypatch.setattr(conditional_generation, "train", untrained)
    monkeypatch.setattr(measures, "samples", lambda *_: standard.rows[0]["samples"])
    monkeypatch.setattr(measures, "elbo", lambda *_: standard.rows[0]["test"])
    monkeypatch.setattr(conditional_generation, "class_kl", lambda *_: 1.0)
    conditional_generation.main(
        conditional_generation.Options(
            dataset="digits", seeds=1, num_by_class=3, latent_dim=2, num_test=100, output_dir=str(tmp_path)
        )
    )
    content = json.loads((tmp_path / "results.json").read_text())
    assert len(content["rows"]) == 3
    for row in content["rows"]:
        assert len(row["shares"]) == 10
        assert row["test"]["share"] == pytest.approx(np.mean(row["shares"]))
    assert len(content["real_shares"]) == 10
    assert (tmp_path / "by_class.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("program", "options", "message"),
    [
        (generation_quality, {"dataset": "none"}, "none"),
        (conditional_generation, {"num_by_class": 0}, "--num-by-class >= 1; got 0"),
        (pseudo_inputs, {"num_components": 5000}, "--num-components <= 1078 to start at images; got 5000"),
        (choose_prior, {"priors": ("mixture",)}, "`standard` among --priors"),
    ],
)
def test_wrong_options_are_named(program, options, message):
    with pytest.raises(ValueError, match=message):
        program.main(program.Options(**{"dataset": "digits"} | options))
