"""Priors: one factory (family) a file."""
