"""Static MNIST, N(0, I), one level of latents; test NLL in nats.

Command: python -m experiments.configs.static_mnist_standard
Published: 88.56 (Tomczak & Welling 2018, unchecked), 89.11 (Bauer & Mnih 2019), 89.59 and 89.78 elsewhere, the last
with S = 200.
Measured: 88.60 ± 0.23 (one seed, error over test images, S = 5000, 52 minutes, on 2 cores of an Intel(R) Xeon(R)
Processor @ 2.10GHz; jax 0.10.2, flax 0.12.8, distrax 0.1.9, Python 3.11.7).
With --cooldown-epochs 10: 88.15 ± 0.23 (one seed, error over test images, S = 5000, 36 minutes, on 1 core of an AMD
EPYC; jax 0.10.2, flax 0.12.8, distrax 0.1.9, Python 3.11.7).
With --gradients normalized: 88.44 ± 0.00 (2 seeds, S = 5000, 114 minutes, on 1 core of an AMD EPYC; jax 0.10.2, flax
0.12.8, distrax 0.1.9, Python 3.11.7).
With --gradients normalized --cooldown-epochs 10: 88.03 ± 0.23 (one seed, error over test images, S = 5000, 11 minutes
(from a checkpoint), on 1 core of an AMD EPYC; jax 0.10.2, flax 0.12.8, distrax 0.1.9, Python 3.11.7).
"""

from experiments.configs import paper, run_as_program

CONFIG = paper(__file__, "binarized_mnist", "standard")
run_as_program(__name__, CONFIG)
