"""The exercises, small: what they draw and write, and that the answers follow from the numbers."""

import copy
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import vaepriors_jax as vp
from experiments import (
    choose_prior,
    compare_priors,
    comparison,
    conditional_generation,
    data,
    generation,
    generation_quality,
    metrics,
    paired,
    prior_visualization,
    pseudo_inputs,
)
from experiments.config import Config, resolve
from experiments.metrics import Model
from experiments.pseudo_inputs import SETS, Learned
from experiments.recommendation import recommend
from experiments.trained import Trained

SMALL = {"epochs": 1, "warmup_epochs": 1, "latent_dim": 2, "num_components": 4, "num_test": 100}


@pytest.fixture(scope="module")
def standard(tmp_path_factory):
    """N(0, I) and two seeds, hardly trained, and what was measured of them: the tests share what is compiled."""
    digits = compare_priors.take_test(data.load("digits"), 100)
    options = {"priors": ("standard",), "seeds": 2, "hidden": (8,), "batch_size": 500, **SMALL}
    config = resolve(Config(**options), digits)
    return generation.train_and_measure(config, digits, tmp_path_factory.mktemp("trained"))


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
    monkeypatch.setattr(compare_priors, "train", lambda *_: standard.trained[0])
    options = prior_visualization.Options(priors=("standard",), num_points=100, output_dir=str(tmp_path))
    prior_visualization.main(options)
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert row["prior"] == "standard"
    assert 0 <= row["hole_mass"][0] <= 1
    assert row["marginal_kl"][1] > 0
    assert (tmp_path / "latent_plane.png").stat().st_size > 50_000
    assert "hole mass" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [({"latent_dim": 1}, "--latent-dim >= 2 for a picture of the plane; got 1"), ({"num_points": 0}, "--num-points")],
)
def test_a_plane_needs_two_dimensions(options, message):
    with pytest.raises(ValueError, match=message):
        prior_visualization.main(prior_visualization.Options(**options))


@pytest.mark.slow
def test_pseudo_inputs_are_followed_and_measured(tmp_path, capsys):
    options = pseudo_inputs.Options(num_components=6, starts=("data",), epochs=2, output_dir=str(tmp_path))
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


def learned_at(distance):
    """Pseudo-inputs at some distance from the data, where held-out images are at 1 to 2 and noise is at 10."""
    rng = np.random.default_rng(0)
    values = dict(
        zip(SETS, (np.full(5, distance), np.full(5, 8.0), rng.uniform(1, 2, 100), np.full(5, 10.0)), strict=True)
    )
    images = rng.uniform(size=(5, 3, 3))
    usage = {"responsibility_perplexity": 4.0, "num_unused": 1}
    return Learned("random", {0: images, 7: images + 1}, images, images, values, values, values, usage)


def test_the_answer_follows_from_the_numbers():
    for distance, verdict, moved in ((1.5, "Yes", "6.50 nearer to"), (9.0, "No", "1.00 away from")):
        found = pseudo_inputs.measure(learned_at(distance))
        text = pseudo_inputs.answer(found)
        assert f"resemble training data? {verdict}." in text
        assert f"training moved them by {moved} the data" in text
        assert "4 of them are used" in text
    mixed = learned_at(1.5)
    mixed = mixed._replace(entropies=learned_at(9.0).entropies)
    assert "In part." in pseudo_inputs.answer(pseudo_inputs.measure(mixed))


def test_distance_apart_by_hand():
    images = np.array([[[0.0, 0.0]], [[3.0, 4.0]], [[3.0, 5.0]]])
    assert pseudo_inputs.apart(images) == pytest.approx((5 + 1 + 1) / 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "figures", "words"),
    [
        (
            generation_quality,
            {"samples", "means", "scores"},
            "The FID of mixture is smaller than that of standard (-1.00 ± 0.00 (p &lt; 0.001)), larger than",
        ),
        (choose_prior, {"samples", "means", "scores", "hole_maps"}, "Recommended: mixture"),
    ],
)
def test_samples_of_two_priors_are_compared(program, figures, words, candidates, tmp_path, monkeypatch):
    monkeypatch.setattr(generation, "train_and_measure", lambda *_: candidates)
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
    digits = data.load("digits")
    models = [
        Model("any", 0, vp.VAE(None, lambda params, z: vp.bernoulli(jnp.zeros((8, 8)) + 0 * z[0]), prior), None)
        for prior in (vp.standard_normal(2), vp.standard_normal(3))
    ]
    models = [one._replace(params=vp.VAEParams({}, {}, {})) for one in models]
    first, second = (np.asarray(metrics.generate(one, digits, 5)) for one in models)
    np.testing.assert_array_equal(first, second)
    assert 0.4 < first.mean() < 0.6


def test_paired_differences_are_those_of_scipy():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5))
    found, expected = paired.compare(first, second), stats.ttest_rel(first, second)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.mean / found.standard_error == pytest.approx(expected.statistic)
    assert paired.compare([1.0, 2.0], [0.0, 1.0]).clear  # always by the same
    assert not paired.compare([1.0, 2.0], [1.0, 2.0]).clear
    assert not paired.compare([1.0], [0.0]).clear
    # How often three seeds find a difference of one standard deviation, by trying.
    tried = stats.ttest_1samp(rng.normal(1, 1, (20_000, 3)), 0, axis=1).pvalue < 0.05
    assert paired.power(3) == pytest.approx(tried.mean(), abs=0.012)
    assert "4.3 of its standard errors" in paired.strength(3)
    assert "weak test" in paired.strength(3)
    assert "weak test" not in paired.strength(10)
    assert "One seed" in paired.strength(1)


def measured(**by_prior):
    """Three seeds that differ by 0.01 from each other: FID, ELBO, hole mass, KL and seconds of each prior."""
    names = ("fid", "elbo", "hole_mass", "marginal_kl", "seconds_per_epoch")
    found = {}
    for i, (prior, values) in enumerate(by_prior.items()):
        shifts = np.roll([-0.01, 0.0, 0.01], i)
        found[prior.replace("refit", "standard, refit mixture")] = {
            **{name: (value + shifts * (value if name == "hole_mass" else 1)).tolist()
               for name, value in zip(names, values, strict=True)},
            "fid_reconstructions": [0.5] * 3,
            "fid_floor": [0.4] * 3,
        }  # fmt: skip
    found["standard"]["gaussian_part"] = [0.1] * 3
    return found


def test_recommendation_follows_from_the_numbers():
    # Clusters: the mixture closes the hole, and nothing else does.
    clusters = measured(
        standard=(9, -90, 0.9, 9, 1.0),
        refit=(6, -88, 0.1, 2, 1.0),
        mixture=(2, -85, 0.05, 1, 2.0),
        flow=(5, -87, 0.3, 4, 3.0),
    )
    found = recommend(clusters)
    text = " ".join([*found.reasons, *found.certainty])
    assert found.prior == "mixture"
    assert "N(0, I) is not good enough: its hole mass is 0.900" in text
    assert "0.10 are mean and covariance, and 8.90 are shape" in text
    assert "takes 7.00 away, 6.90 more than one Gaussian could: the encodings are not one Gaussian" in text
    assert "generation is poor though reconstruction is good" in text
    assert "mixture 2.0 times, flow 3.0 times as long" in text
    assert re.search(r"FID of mixture less that of N\(0, I\): -7.00 ± 0.01 \(p < 0.001\), larger than the noise", text)

    # No hole, and all alike: N(0, I), and it says that the FID did not decide.
    alike = measured(
        standard=(0.6, -22, 0.012, 0.12, 1.0), refit=(0.6, -22, 0.011, 0.1, 1.0), mixture=(0.6, -22, 0.01, 0.1, 1.1)
    )
    found = recommend(alike)
    text = " ".join([*found.reasons, *found.certainty])
    assert found.prior == "standard"
    assert "N(0, I) is good enough: its hole mass is 0.012" in text
    assert "one Gaussian describes the encodings nearly as well" in text
    assert "a better prior has little room" in text
    assert "All differences in FID are within the noise between seeds" in text

    # The refit is as good as the mixture that was trained, and costs no epoch.
    cured = measured(standard=(9, -90, 0.9, 9, 1.0), refit=(2, -85, 0.05, 1, 1.0), mixture=(2, -85, 0.05, 1, 2.0))
    assert recommend(cured).prior == "standard, refit mixture"


def test_recommendation_without_labels_or_seeds():
    unlabelled = measured(standard=(9, -90, 0.9, 9, 1.0), mixture=(2, -85, 0.05, 1, 2.0))
    for values in unlabelled.values():
        del values["fid"]
    found = recommend(unlabelled)
    assert found.prior == "mixture"
    assert "Without labels there are no features" in " ".join(found.reasons)
    single = {
        prior: {name: value[:1] for name, value in values.items()}
        for prior, values in measured(standard=(2, -90, 0.9, 9, 1.0), mixture=(2.5, -85, 0.05, 1, 2.0)).items()
    }
    found = recommend(single)
    assert found.prior == "standard"  # of one seed, the best FID
    assert "One seed" in " ".join(found.certainty)


def placed(locations, scale):
    """A model whose q(z|x) is N(location of x, scale^2), with images that are numbered."""
    x = (np.arange(len(locations))[:, None, None] // 2 ** np.arange(8) % 2).astype(np.float32)  # the number, in bits
    table, scales = jnp.asarray(locations, jnp.float32), jnp.asarray(scale, jnp.float32)

    def encode(params, x):
        return vp.normal_diag(table[(x[0] @ 2.0 ** jnp.arange(8)).astype(int)] + 0 * params["zero"], scales)

    decode = lambda params, z: vp.bernoulli(jnp.zeros((1, 8)) + params["zero"] * z[0])  # noqa: E731
    params = vp.VAEParams({"zero": jnp.zeros(())}, {"zero": jnp.zeros(())}, {})
    return Model("standard", 0, vp.VAE(encode, decode, vp.standard_normal(2)), params), x


def dataset_of(x, y):
    split = {"x": x, "y": np.asarray(y)}
    return data.Dataset("numbered", "none", split, split, split, split, None, int(max(y)) + 1)


def test_mean_and_covariance_by_hand():
    model, x = placed([[1, 0], [1, 0]], [1, 2])  # q(z) = N((1, 0), diag(1, 4))
    assert metrics.gaussian_part(model, dataset_of(x, [0, 0])) == pytest.approx(0.5 * (1 + 5 - 2 - np.log(4)))
    model, x = placed([[1, 0], [-1, 0]], [1, 1])  # mean 0, covariance diag(2, 1)
    assert metrics.gaussian_part(model, dataset_of(x, [0, 0])) == pytest.approx(0.5 * (3 - 2 - np.log(2)))


def test_each_class_against_its_prior():
    """Encodings of class y are N(m_y, I) at any x: KL(q(z|y) || N(0, I)) is m_y^2 / 2."""
    model, x = placed([[2, 0]] * 50 + [[0, 3]] * 60, [1, 1])
    y = [0] * 50 + [1] * 60
    found = conditional_generation.class_kl(model, dataset_of(x, y))
    assert found == pytest.approx((2 + 4.5) / 2, abs=5 * 2.5 / 10)  # a standard error of m / sqrt(50) each


def test_the_answer_on_classes_follows_from_the_numbers():
    names = (conditional_generation.CONDITIONAL, conditional_generation.SHARED, conditional_generation.BLIND)
    close = dict(zip(names, ([0.9, 0.91, 0.92], [0.91, 0.9, 0.92], [0.5] * 3), strict=True))
    assert "within the noise between seeds" in conditional_generation.answer(close, 0.95)
    apart = close | {names[1]: [0.6, 0.62, 0.61]}
    text = conditional_generation.answer(apart, 0.95)
    assert "91.0 % are put into the class" in text
    assert "for all classes 61.0 %; of test images it is 95.0 %" in text
    assert "The prior for each class is better by more than the noise" in text


@pytest.mark.slow
def test_each_class_is_asked_for(standard, tmp_path, monkeypatch):
    """The program on networks at their start; what it measures beside the shares is tested elsewhere."""

    def untrained(name, config, data, output_dir, made):
        vae, init = made
        params = jax.tree.map(lambda leaf: leaf[None], init(jax.random.key(0)))
        result = standard.trained[0].result._replace(params=params)
        return Trained(name, vae, result, (0,))

    monkeypatch.setattr(compare_priors, "train", untrained)
    monkeypatch.setattr(metrics, "samples", lambda *_: standard.rows[0]["samples"])
    monkeypatch.setattr(metrics, "elbo", lambda *_: standard.rows[0]["test"])
    monkeypatch.setattr(conditional_generation, "class_kl", lambda *_: 1.0)
    conditional_generation.main(
        conditional_generation.Options(seeds=1, num_by_class=3, latent_dim=2, num_test=100, output_dir=str(tmp_path))
    )
    content = json.loads((tmp_path / "results.json").read_text())
    assert len(content["rows"]) == 3
    for row in content["rows"]:
        assert len(row["shares"]) == 10
        assert row["test"]["share"] == pytest.approx(np.mean(row["shares"]))
    assert len(content["real_shares"]) == 10
    assert (tmp_path / "by_class.png").stat().st_size > 5000


def test_share_of_samples_in_their_class(monkeypatch):
    """Images whose first pixel is the class that the network sees."""
    seen = lambda _, images: jnp.log(1e-9 + jax.nn.one_hot(images[:, 0, 0], 2))  # noqa: E731
    monkeypatch.setattr(metrics, "class_log_probabilities", seen)
    images = jnp.array([[0, 0, 1, 0], [1, 0, 0, 1]]).reshape(2, 4, 1, 1)
    judge = metrics.Judge(network=None, references={})
    assert conditional_generation.shares_in_class(judge, images) == pytest.approx([0.75, 0.5])


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
        program.main(program.Options(**options))
