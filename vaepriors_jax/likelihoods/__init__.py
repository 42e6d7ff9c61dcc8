"""Likelihoods p(x|z) beside the Bernoulli and the Gaussian: one family per file, each over one array."""
