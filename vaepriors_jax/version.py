"""The version, in a module of its own so that the build reads it without importing JAX."""

__version__ = "0.1.0"

# The newest tfp-nightly, which distrax brings, that the tests have passed with.
TESTED_TFP_NIGHTLY = "0.26.0.dev20261027"
