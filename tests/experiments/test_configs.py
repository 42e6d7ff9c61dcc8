"""The published settings: each is a configuration of `compare_priors`, and its docstring quotes its result file."""

import importlib
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from experiments import configs, tables
from experiments.options.config import Config
from experiments.options.settings import fill
from experiments.report.results import RESULTS

# What does not change a result: where it goes, what else is measured, which seeds.
FREE = {"output_dir", "data_dir", "metrics", "checkpoints", "seeds", "seed"}


@pytest.mark.parametrize("name", configs.NAMES)
def test_a_setting_is_what_its_name_says_and_tells_its_result(name):
    module = importlib.import_module(f"experiments.configs.{name}")
    config, file = module.CONFIG, Path(module.__file__ or "")
    assert isinstance(config, Config)
    dataset, prior, two_level = name.split("_mnist_")[0], name.split("_")[2], name.endswith("two_level")
    assert config.dataset == {"static": "binarized_mnist", "dynamic": "mnist"}.get(dataset, "fashion_mnist")
    assert (config.priors, config.levels) == ((prior,), 2 if two_level else 1)
    assert (config.preset, fill(config).binarization, config.output_dir) == ("paper", "dynamic", f"runs/{name}")
    text = file.read_text()
    assert f"\nCommand: python -m experiments.configs.{name}\nPublished: " in text
    assert tables.fill_docstring(name, text) == text, "run `python -m experiments.tables`"


def test_results_are_those_of_the_settings():
    found = [name for name in configs.NAMES if (RESULTS / f"{name}.json").exists()]
    assert "static_mnist_standard" in found
    for name in found:
        wanted = asdict(importlib.import_module(f"experiments.configs.{name}").CONFIG)
        content = json.loads((RESULTS / f"{name}.json").read_text())
        # What a setting leaves open is the preset's; an older result lacks options that came later.
        for option, value in content["config"].items():
            if option not in FREE and wanted[option] is not None:
                given = tuple(value) if isinstance(value, list) else value
                assert given == wanted[option], (name, option)
