"""The parts of `python -m experiments.benchmark`, one file each: `run(settings)` measures, and returns tables."""
