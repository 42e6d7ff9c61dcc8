"""`choose_prior` recommends the prior that the scores support, and gives the matching reasons."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments import choose_prior
from experiments.report.recommendation import recommend

ALL_PRIORS = Path(choose_prior.__file__).parent / "results" / "mnist_5k_all.json"


def measured(num_encodings=10_000, **by_prior):
    """Three seeds that differ by 0.01 from each other: FID, ELBO, divergence and seconds of each prior."""
    names = ("fid", "elbo", "divergence", "seconds_per_epoch")
    found = {}
    for i, (prior, values) in enumerate(by_prior.items()):
        shifts = np.roll([-0.01, 0.0, 0.01], i)
        found[prior.replace("refit", "standard, refit mixture")] = {
            **{name: (value + shifts * (value if name == "divergence" else 1)).tolist()
               for name, value in zip(names, values, strict=True)},
            "fid_reconstructions": [0.5] * 3,
            "fid_floor": [0.4] * 3,
        }  # fmt: skip
    found["standard"] |= {"accuracy": [0.8] * 3, "gaussian_divergence": [0.2] * 3, "num_encodings": [num_encodings] * 3}
    return found


def test_recommendation_follows_from_the_numbers():
    # Clusters: the mixture closes the hole, and nothing else does.
    clusters = measured(
        standard=(9, -90, 0.25, 1.0),
        refit=(6, -88, 0.1, 1.0),
        mixture=(2, -85, 0.02, 2.0),
        flow=(5, -87, 0.15, 3.0),
    )
    found = recommend(clusters)
    text = " ".join([*found.reasons, *found.findings, *found.certainty])
    assert found.prior == "mixture"
    assert "N(0, I) is not good enough: a classifier tells its samples from encodings of held-out images" in text
    assert "with an accuracy of 0.80, a divergence of 0.250 nats" in text
    assert "mixture is the only one left: the best mean FID is its own (2.00); the best mean ELBO is" in text
    assert len(re.findall(r"\.(?= |$)", " ".join(found.reasons))) == 3  # sentences
    assert "are 0.200 nats away, from the best prior fitted afterwards 0.100: they have clusters" in text
    assert "fewer than 10,000" not in text
    assert "generation is poor though reconstruction is good" in text
    assert "mixture 2.0 times, flow 3.0 times as long" in text
    assert re.search(r"FID of mixture less that of N\(0, I\): -7.00 ± 0.01 \(p < 0.001\), larger than the noise", text)

    # No hole, and all alike: N(0, I), and it says that the FID did not decide.
    alike = measured(
        num_encodings=300,
        standard=(0.6, -22, 0.002, 1.0),
        refit=(0.6, -22, 0.001, 1.0),
        mixture=(0.6, -22, 0.001, 1.1),
    )
    alike["standard"]["gaussian_divergence"] = [0.001] * 3
    found = recommend(alike)
    text = " ".join([*found.reasons, *found.findings, *found.certainty])
    assert found.prior == "standard"
    assert "N(0, I) is good enough by its samples: 300 encodings of held-out images are too few to tell" in text
    assert "classifier tells" not in text
    assert "one Gaussian" not in text
    assert "encodings of 300 held-out images: fewer than 10,000 show gross differences only" in text
    assert "a better prior has little room" in text
    assert "All differences in FID are within the noise between seeds" in text

    # The same from enough encodings: the classifier shows that there is no hole.
    alike["standard"]["num_encodings"] = [10_000] * 3
    text = " ".join([*recommend(alike).reasons, *recommend(alike).findings])
    assert "N(0, I) is good enough: a classifier tells" in text
    assert "no more than one Gaussian shows" in text

    # The refit is as good as the mixture that was trained, and costs no epoch.
    cured = measured(standard=(9, -90, 0.25, 1.0), refit=(2, -85, 0.05, 1.0), mixture=(2, -85, 0.05, 2.0))
    assert recommend(cured).prior == "standard, refit mixture"

    # The best FID and the best ELBO are of different priors: it says which of them decides.
    split = recommend(measured(standard=(9, -90, 0.25, 1.0), mixture=(2, -88, 0.05, 1.0), flow=(4, -85, 0.05, 1.0)))
    assert split.prior == "mixture"
    assert "none is near the best in both, so the FID decides" in " ".join(split.reasons)


def test_recommendation_without_labels_or_seeds():
    unlabelled = measured(standard=(9, -90, 0.25, 1.0), mixture=(2, -85, 0.05, 2.0))
    for values in unlabelled.values():
        del values["fid"]
    found = recommend(unlabelled)
    assert found.prior == "mixture"
    assert "Without labels there are no features" in " ".join(found.findings)
    single = {
        prior: {name: value[:1] for name, value in values.items()}
        for prior, values in measured(standard=(2, -90, 0.25, 1.0), mixture=(2.5, -85, 0.05, 2.0)).items()
    }
    found = recommend(single)
    assert found.prior == "standard"  # of one seed, the best FID
    assert "One seed" in " ".join(found.certainty)


def test_results_that_lack_the_divergence_are_read_without_it():
    """Their hole mass and their KL saturate: no reason rests on them."""
    old = measured(standard=(9, -90, 0.25, 1.0), refit=(6, -88, 0.1, 1.0), mixture=(2, -85, 0.02, 2.0))
    for values in old.values():
        values |= {"hole_mass": [0.99] * 3, "marginal_kl": [20.0] * 3}
        for name in ("divergence", "accuracy", "gaussian_divergence", "num_encodings"):
            values.pop(name, None)
    found = recommend(old)
    text = " ".join([*found.reasons, *found.findings, *found.certainty])
    assert found.prior == "mixture"
    assert "was not measured" in text
    assert not re.search("hole mass|KL|0.99|20.0", text)


def test_cost_of_many_candidates_names_the_chosen_one_and_the_extremes():
    many = {f"prior{i}": (9, -90, 0.2, 1.0 + i) for i in range(6)}
    found = recommend(measured(standard=(9, -90, 0.25, 1.0), mixture=(2, -85, 0.02, 2.5), **many))
    assert found.prior == "mixture"
    assert found.reasons[-1] == (
        "An epoch takes 1 s with N(0, I); mixture 2.5 times, prior0 1.0 times, prior5 6.0 times as long."
    )


def test_chooses_among_stored_results(tmp_path):
    """The stored comparison of all priors: those that read a label are left out, and so are times of a busy machine."""
    found = choose_prior.main(choose_prior.Options(results=str(ALL_PRIORS), output_dir=str(tmp_path / "out")))
    priors = json.loads(ALL_PRIORS.read_text())["config"]["priors"]
    assert sorted(found["measured"]) == sorted(prior for prior in priors if "conditional" not in prior)
    best = min(found["measured"], key=lambda prior: np.mean(found["measured"][prior]["fid"]))
    assert found["recommendation"]["prior"] == best
    report = (tmp_path / "out" / "report.md").read_text()
    assert "The machine had other work during this run, so its times are left out." in " ".join(report.split())
    assert "An epoch takes" not in report


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "Expected JSON in"),
        ('{"experiment": "evaluate"}', "Expected the results.json of compare_priors as --results"),
        (None, "results.json is no such file"),
    ],
)
def test_says_which_stored_results_it_takes(tmp_path, content, message):
    path = tmp_path / "results.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        choose_prior.main(choose_prior.Options(results=str(path), output_dir=str(tmp_path / "out")))


def test_stored_results_without_the_gaussian_are_refused(tmp_path):
    stored = json.loads(ALL_PRIORS.read_text())
    stored["rows"] = [row for row in stored["rows"] if row["prior"] != "standard"]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="Expected the prior `standard` among those of --results"):
        choose_prior.main(choose_prior.Options(results=str(path), output_dir=str(tmp_path / "out")))
