"""Evaluation of a trained VAE: pure functions of a `VAE`, its parameters, a key and data."""
