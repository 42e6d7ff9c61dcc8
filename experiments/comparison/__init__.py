"""Comparisons of priors from start to end, which several programs share: train, measure, report."""
