"""Faults that the tests must catch: `python -m tests.faults` injects them one at a time."""
