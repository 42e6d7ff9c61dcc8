"""Programs that train and compare priors: `python -m experiments.NAME --help`."""

import os
import signal
import sys

if sys.argv[:1] == ["-m"]:  # a program is starting: until it handles signals itself, they end it without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# On a CPU level 3 takes five times as long as level 2 to compile random numbers, and the programs run no faster.
if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=2".strip()
