"""Feature sets for tests of scores."""

import numpy as np


def draw(seed, *shape, scale=1.0, loc=0.0):
    return (np.random.default_rng(seed).normal(loc, scale, shape)).astype(np.float32)


def two_sets(num_real=20, num_generated=20, features=3):
    return draw(0, num_real, features), draw(1, num_generated, features)
