"""Which prior is recommended: the answer follows from the numbers, and so do its reasons."""

import re

import numpy as np

from experiments.recommendation import recommend


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
