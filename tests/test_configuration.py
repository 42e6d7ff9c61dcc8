"""Configurations as anybody's file may hold them: a message instead of an error from within, hours or gigabytes."""

import time
import tracemalloc

import pytest

import vaepriors_jax as vp

NORMAL = {"factory": "standard_normal", "dim": 2}
PERMUTE = {"factory": "permute", "dim": 2}
MIXTURE = {"factory": "mixture", "dim": 2, "num_components": 3}


def transformed(flow):
    return {"factory": "transformed", "base_prior": NORMAL, "flow": flow}


def repeated(flow, *numbers):
    for number in numbers:
        flow = {"factory": "repeat", "flow": flow, "num_layers": number}
    return transformed(flow)


def nested(depth):
    config = NORMAL
    for _ in range(depth):
        config = {"factory": "stop_gradient", "prior": config}
    return config


TOO_LARGE = [
    (transformed({"factory": "permute", "dim": 10**8}), "1,000,000 as a number in a configuration; got 100,000,000"),
    (repeated(PERMUTE, 10**9), "1,000,000 as a number"),
    (repeated(PERMUTE, 1000, 1000), "10,000 layers in a configuration; got 1,000,000"),
    (repeated({"factory": "chain", "*": [PERMUTE, repeated(PERMUTE, 200)["flow"]]}, 100), "10,000 layers"),
    (nested(16), "16 levels"),
    (nested(5000), "16 levels"),
    (transformed({"factory": "chain", "*": [PERMUTE] * 1000}), "100 priors and flows"),
    ({**MIXTURE, "dim": 10**5, "num_components": 10**4}, "67,108,864 as the product of two numbers"),
    ({**MIXTURE, "dim": 1000, "num_components": 1000, "covariance": "full"}, "268,435,456 parameters .* got 1,001,001"),
    ({"factory": "vamp", "num_components": 10**6, "input_shape": [1], "num_classes": 10**6}, "the product of two"),
    (transformed({"factory": "masked_autoregressive", "dim": 2, "hidden": [60_000] * 2}), "the product of two"),
    (transformed({"factory": "masked_autoregressive", "dim": 2, "hidden": [2] * 65}), "a shape of 1 to 64 integers"),
    (repeated({"factory": "affine_coupling", "dim": 100, "hidden": [1000, 1000]}, 1000), "268,435,456 parameters"),
]


@pytest.mark.parametrize(("config", "message"), TOO_LARGE)
def test_a_configuration_cannot_ask_for_much_memory_or_time(config, message):
    tracemalloc.start()
    began = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        vp.prior_from_config(config)
    assert time.perf_counter() - began < 10
    assert tracemalloc.get_traced_memory()[1] < 10**8
    tracemalloc.stop()


def test_sizes_of_your_own_have_no_limit():
    config = {**MIXTURE, "dim": 10**5, "num_components": 10**4}
    assert vp.prior_from_config(config, limited=False) == vp.mixture(10**5, 10**4)
    flow = {"factory": "permute", "dim": 10**6 + 1}
    assert vp.flow_from_config(flow, limited=False) == vp.permute(10**6 + 1)


def test_usual_sizes_are_within_the_limits():
    flow = vp.repeat(vp.chain(vp.spline_coupling(200, hidden=(1024, 1024)), vp.permute(200)), 8)
    full = vp.mixture(100, 500, covariance="full")
    for prior in (vp.vamp(1000, (3, 64, 64)), full, vp.two_level(vp.transformed(full, vp.permute(100)), 100, 100)):
        assert vp.prior_from_config(vp.plain_config(prior)) == prior
    assert vp.flow_from_config(vp.plain_config(flow)) == flow


WRONG = [
    ([], "with the key 'factory', .*; got list"),
    ({"dim": 2}, r"with the key 'factory', .*; got \['dim'\]"),
    ({"factory": ["mixture"]}, r"Expected a factory among .*; got \['mixture'\]"),
    ({"factory": {}}, "Expected a factory among"),
    ({"factory": "mixture"}, "arguments of `mixture` in a configuration; .*: missing a required argument: 'dim'"),
    ({**MIXTURE, "colour": 1}, "arguments of `mixture` .*: got an unexpected keyword argument 'colour'"),
    ({**MIXTURE, 3: 1}, "arguments of `mixture` .*: keywords must be strings"),
    ({**MIXTURE, "dim": "2"}, "`dim` to be an integer >= 1; got '2'"),
    ({**MIXTURE, "dim": True}, "`dim` to be an integer >= 1; got True"),
    ({**MIXTURE, "initial_spread": True}, "`initial_spread` to be a finite number > 0; got True"),
    (transformed(None), "arguments of `transformed` .* Expected a flow, .*; got NoneType"),
    (transformed(NORMAL), "arguments of `transformed` .* Expected a flow, .*; got the prior standard_normal"),
    (
        {"factory": "vamp", "num_components": 2, "input_shape": [3], "encoder_reads_class": "no"},
        "`encoder_reads_class` to be True or False; got 'no'",
    ),
    ({"factory": "marginalize", "prior": NORMAL, "class_probabilities": {}}, "arguments of `marginalize`"),
]


@pytest.mark.parametrize(("config", "message"), WRONG)
def test_a_configuration_of_nonsense_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        vp.prior_from_config(config)
