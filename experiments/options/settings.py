"""The settings of a comparison: its options, with the preset's values where an option was left open."""

from dataclasses import dataclass, field, fields
from typing import Any

from experiments.measures import Annealing, EvaluationSettings, SampleScorer
from experiments.models.families import PRIORS
from experiments.models.vaes import Sizes
from experiments.options.config import PRESETS, QUICK_ON_DIGITS, Config


@dataclass(frozen=True)
class Settings(Config):
    """The options of a comparison, each with its value.

    `learning_rate` is None only beside several `learning_rates`.
    """

    # `field` takes away the default None that these would inherit.
    priors: tuple[Any, ...] = field(kw_only=True)
    binarization: str = field(kw_only=True)
    likelihood: str = field(kw_only=True)
    epochs: int = field(kw_only=True)
    batch_size: int = field(kw_only=True)
    average_decay: float = field(kw_only=True)
    latent_dim: int = field(kw_only=True)
    hidden: tuple[int, ...] = field(kw_only=True)
    num_components: int = field(kw_only=True)
    warmup_epochs: int = field(kw_only=True)
    patience: int = field(kw_only=True)
    num_samples: int = field(kw_only=True)
    annealing: Annealing = field(kw_only=True)
    flow_layers: int = field(kw_only=True)
    flow_hidden: tuple[int, ...] = field(kw_only=True)
    pseudo_inputs: str = field(kw_only=True)

    @property
    def all_learning_rates(self) -> tuple[float, ...]:
        """The learning rates to train with, at least one."""
        return self.learning_rates if self.learning_rate is None else (self.learning_rate,)

    @property
    def sizes(self) -> Sizes:
        """The settings that make the models."""
        return Sizes(**{name: getattr(self, name) for name in Sizes._fields})

    def evaluation(self, scorer: SampleScorer | None) -> EvaluationSettings:
        """The settings of the evaluation; annealing checks the models of the first seed."""
        return EvaluationSettings(
            num_samples=self.num_samples,
            annealing=self.annealing,
            annealed_seed=self.seed,
            likelihood=self.likelihood,
            scorer=scorer,
        )


def fill(config: Config) -> Settings:
    """Gives each option that was left open its value: the preset's, and all priors."""
    typed = {option.name: getattr(config, option.name) for option in fields(Config)}
    values: dict[str, Any] = {**PRESETS[config.preset], "priors": PRIORS}
    if (config.preset, config.dataset) == ("quick", "digits"):
        values |= QUICK_ON_DIGITS
    values |= {"binarization": "dynamic", "likelihood": "bernoulli"}  # of grey images; `resolve` knows the images
    values |= {name: value for name, value in typed.items() if value is not None}
    if config.learning_rates:
        values["learning_rate"] = None
    values["annealing"] = Annealing(*values["annealing"])
    values["betas"] = config.betas or (1.0,)
    return Settings(**values)
