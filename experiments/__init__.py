"""Programs that train and compare priors: `python -m experiments.NAME --help`."""
