"""How do priors compare on a data set, log p(x) included? Trains a VAE with each, and measures and draws all of them.

python -m experiments.compare_priors
python -m experiments.compare_priors --dataset binarized_mnist --preset paper --priors standard --seeds 1
"""

from experiments.comparison.compare import compare
from experiments.options import command_line
from experiments.options.config import Config

if __name__ == "__main__":
    command_line.run(compare, Config)
