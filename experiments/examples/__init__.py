"""Worked examples, as users of the library write them. Each runs by `python -m experiments.examples.NAME`."""
