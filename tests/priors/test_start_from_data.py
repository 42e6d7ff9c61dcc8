"""The same key and data give the same start in every version."""

import jax
import numpy as np
import pytest

import vaepriors_jax as vp

RNG = np.random.default_rng(0)
Z, X, Y = RNG.normal(size=(60, 2)), RNG.random((60, 3)), np.arange(60) % 3

STORED = [
    (vp.mixture(2, 3), ("loc",), [[0.210128, -0.919349], [0.674099, 1.028595], [-0.913282, 0.286501]]),
    (vp.mixture(2, 3, covariance="full"), ("scale_tril", 0), [[-0.240166, 0], [0, -0.721513]]),
    (
        vp.conditional_mixture(2, 2, num_classes=3),
        ("logits",),
        [[-0.526093, -0.893818], [-0.526093, -0.893818], [-0.200671, -1.704748]],
    ),
    (
        vp.conditional_normal(2, num_classes=3),
        ("log_scale",),
        [[0.155359, -0.122594], [-0.133687, 0.027405], [-0.416206, -0.283111]],
    ),
    (
        vp.vamp(4, (3,)),
        ("pseudo_inputs",),
        [
            [0.138932, 0.703786, 0.821103],
            [0.526022, 0.523435, 0.088936],
            [-0.16, 0.744381, 0.851876],
            [0.982152, 0.571396, -0.022413],
        ],
    ),
    (
        vp.vamp(4, (3,), num_classes=3),
        ("pseudo_inputs",),
        [
            [0.982012, 0.843791, 0.424106],
            [0.54141, 0.112614, 0.406948],
            [0.772649, 0.978266, 0.58987],
            [0.225328, 0.362308, 0.417448],
        ],
    ),
    (vp.two_level(vp.mixture(1, 2), 1, 1), ("top", "loc"), [[-0.789419], [0.845668]]),
]


@pytest.mark.parametrize(("prior", "entry", "stored"), STORED, ids=lambda value: repr(value)[:40])
def test_the_numbers_are_those_of_before(prior, entry, stored):
    found = vp.init_from_data(prior, jax.random.key(0), z=Z, x=X, y=Y)
    for name in entry:
        found = found[name]
    np.testing.assert_allclose(found, stored, rtol=1e-4, atol=2e-6)
