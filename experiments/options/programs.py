"""Options that several programs share; a program adds its own, and redeclares those that it describes differently."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from experiments.options.config import Binarization, Config, LikelihoodName, Network


@dataclass(frozen=True)
class RunOptions:
    """One run: the data, the schedule, the seed, and where results go."""

    dataset: str = "mnist_5k"
    """mnist_5k, digits, a TFDS name, or the path of your own .npz file, as in compare_priors."""
    preset: Literal["quick", "paper"] = "quick"
    """Sizes and schedule, as in compare_priors."""
    epochs: int | None = None
    """The most epochs; those of the preset by default."""
    seed: int = 0
    """The seed."""
    grey: bool = False
    """Make images of three channels grey."""
    binarization: Binarization | None = None
    """How images become binary, as in compare_priors; by default dynamic for grey images, and none for colours."""
    likelihood: LikelihoodName | None = None
    """p(x|z), as in compare_priors; by default one that fits the images."""
    network: Network = "dense"
    """Encoder and decoder, as in compare_priors."""
    data_dir: str | None = None
    """Folder of prepared TFDS data sets; by default TFDS_DATA_DIR."""
    output_dir: str | None = None
    """Where results go; by default a new folder under runs/."""

    def reading(self) -> dict[str, Any]:
        """The options of `load` beside the name of the data set."""
        return {"binarization": self.binarization, "data_dir": self.data_dir, "grey": self.grey}

    def comparison(self, **fixed: Any) -> Config:
        """These options as those of compare_priors, which lack some, with values that the program fixes."""
        known = {field.name for field in fields(Config)}
        return Config(**{name: value for name, value in asdict(self).items() if name in known}, **fixed)


@dataclass(frozen=True)
class SeedsOptions(RunOptions):
    """A run with several seeds, whose samples are compared with test images."""

    seed: int = 0
    """The first seed."""
    seeds: int = 3
    """How many seeds."""
    latent_dim: int | None = None
    """Dimension of z; that of the preset by default."""
    warmup_epochs: int | None = None
    """Epochs in which the weight of the KL rises to 1; those of the preset by default."""
    learning_rate: float | None = None
    """Learning rate of Adam; that of the preset by default."""
    num_test: int | None = None
    """Score this many samples against this many test images; all of them by default."""
