"""Static MNIST, VampPrior with 500 pseudo-inputs, one level of latents; test NLL in nats.

Command: python -m experiments.configs.static_mnist_vamp
Published: 85.57 (Tomczak & Welling 2018), 85.79 (pythae), 87.42 elsewhere.
Measured: 85.92 ± 0.23 (one seed, error over test images, S = 5000, 140 minutes, on 1 core of an AMD EPYC; jax 0.10.2,
flax 0.12.8, distrax 0.1.9, Python 3.11.7).
With --prior-learning-rate-factor 10 --cooldown-epochs 10: 85.43 ± 0.03 (2 seeds, S = 5000, 31 minutes (from a
checkpoint), on 1 core of an AMD EPYC; jax 0.10.2, flax 0.12.8, distrax 0.1.9, Python 3.11.7).
With --prior-learning-rate-factor 10: 85.90 ± 0.23 (one seed, error over test images, S = 5000, 59 minutes, on 2 cores
of an AMD EPYC; jax 0.10.2, flax 0.12.8, distrax 0.1.9, Python 3.11.7).
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "binarized_mnist", "vamp")
run_as_program(__name__, CONFIG)
