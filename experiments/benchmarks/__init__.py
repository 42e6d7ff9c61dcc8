"""The parts of `python -m experiments.benchmark`, one file each: `run(settings)` measures, and gives back tables."""
