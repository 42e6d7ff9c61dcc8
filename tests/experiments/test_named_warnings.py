"""Warnings of `vp.fit` name the prior and the seed in the programs."""

import warnings
from types import SimpleNamespace

import pytest

from experiments.training.named_warnings import names_prior_and_seed

ONE = SimpleNamespace(seed=10, seeds=3, all_learning_rates=(1e-3,), betas=(1.0,))
GRID = SimpleNamespace(seed=0, seeds=2, all_learning_rates=(1e-3, 1e-2), betas=(1.0,))


@pytest.mark.parametrize(
    ("config", "message", "printed"),
    [
        (
            ONE,
            "replica 2 was frozen at step 7: kl is not finite",
            "vamp, seed 12 was frozen at step 7: kl is not finite",
        ),
        (ONE, "replicas 0, 2, epoch 30: collapsed", "vamp, seeds 10, 12, epoch 30: collapsed"),
        (GRID, "replica 3, epoch 10: collapsed", "vamp, seed 1 (learning rate 0.01, beta 1), epoch 10: collapsed"),
        (ONE, "the KL never gets 3 parts", "vamp, the KL never gets 3 parts"),
    ],
)
def test_a_warning_is_one_line_with_prior_and_seed(config, message, printed, capsys):
    @names_prior_and_seed
    def train(name, config, text):
        warnings.simplefilter("always")
        warnings.warn(text, RuntimeWarning, stacklevel=2)
        return name

    assert train("vamp", config, message) == "vamp"
    assert capsys.readouterr().err == f"{printed}\n"


def test_other_warnings_are_shown_as_they_are(recwarn):
    @names_prior_and_seed
    def train(name, config):
        warnings.simplefilter("always")
        warnings.warn("of something else", UserWarning, stacklevel=2)

    train("vamp", ONE)
    assert [str(warning.message) for warning in recwarn] == ["of something else"]
