"""Trains the priors of a configuration, with all seeds at once."""

import math
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import vaepriors_jax as vp
from experiments import measures
from experiments.data.dataset import Dataset
from experiments.models.trained import Trained, training_data
from experiments.models.vaes import Made, make_prior, make_vae
from experiments.options.settings import Settings
from experiments.report import terminal
from experiments.runs.programs import drop_if_many
from experiments.runs.signals import epochs, stop_if_asked
from experiments.training import cooldown, cost, grid, kept
from experiments.training.named_warnings import names_prior_and_seed
from experiments.training.optimizers import optimizer_factory
from vaepriors_jax.parallel.sharding import make_mesh
from vaepriors_jax.training.progress import is_live
from vaepriors_jax.vae import split_states

NUM_DRAWS = 2**20  # of a base prior, for an estimated normaliser after training


@names_prior_and_seed
def train(name: str, config: Settings, data: Dataset, output_dir: Path, made: Made | None = None) -> Trained:
    """Trains one prior, or a VAE made elsewhere, with all seeds, learning rates and betas as one program.

    Of the learning rates and betas it keeps the best. What the output folder holds of it is not trained again.
    """
    vae, init = made or make_vae(name, config.sizes, data)
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    found = kept.read(name, vae, seeds, output_dir)
    return found or _train(name, (vae, init), seeds, config, data, output_dir)


def _train(name: str, made: Made, seeds: tuple[int, ...], config: Settings, data: Dataset, output_dir: Path) -> Trained:
    vae, init = made
    keys = [jax.random.split(jax.random.key(seed)) for seed in seeds]
    settings = grid.settings(config.all_learning_rates, config.betas)
    starts = [init(key_init) for key_init, _ in keys]
    operations = _announce(name, vae, starts[0], config, data)
    params = jax.tree.map(lambda *leaves: np.stack(leaves * len(settings)), *starts)
    # Replicas are ordered setting by setting, and seed by seed within one.
    rates = jnp.asarray(np.repeat([setting.learning_rate for setting in settings], len(seeds)), jnp.float32)
    betas = jnp.asarray(np.repeat([setting.beta for setting in settings], len(seeds)), jnp.float32)
    fit_keys = jnp.stack([key_fit for _, key_fit in keys] * len(settings))
    fit_options = _fit_options(vae, config, data, num_replicas=len(rates))
    of_epoch = operations * len(rates) * (len(data.train["x"]) // config.batch_size)
    unsaved = None
    try:
        with epochs(name, saved=config.checkpoints):
            result = vp.fit(
                vae,
                params,
                fit_keys,
                num_epochs=config.epochs,
                patience=config.patience,
                hyperparameters={"learning_rate": rates},
                objective=vp.Objective(beta=betas, warmup_epochs=config.warmup_epochs),
                checkpoints=kept.checkpoints(output_dir, name, of_epoch) if config.checkpoints else None,
                progress=_described(name, config),
                **fit_options,
            )
        if config.cooldown_epochs:
            cooling = f"{name}-cooldown"
            with epochs(cooling, saved=config.checkpoints):
                result = cooldown.cool(
                    result,
                    vae,
                    fit_keys,
                    num_epochs=config.cooldown_epochs,
                    learning_rates=rates,
                    objective=vp.Objective(beta=betas),
                    checkpoints=kept.checkpoints(output_dir, cooling, of_epoch) if config.checkpoints else None,
                    progress=f"{name}, cooldown",
                    **fit_options,
                )
    except vp.TrainingFailedError as error:
        print(f"{name}: {error}", file=sys.stderr)
        result = error.result  # the other priors go on
    except vp.CheckpointError as error:
        result, unsaved = kept.result_of(error), error
    result, rows = grid.choose(result, settings, len(seeds))
    result = result._replace(params=_with_new_state(vae, result.params, data))
    trained = Trained(name, vae, result, seeds, tuple({"prior": name} | row for row in rows), operations)
    return kept.write(trained, output_dir, unsaved)


def _with_new_state(vae: vp.VAE, params: vp.VAEParams, data: Dataset) -> vp.VAEParams:
    """The parameters of all seeds, with a state of the prior that belongs to them, where training moves one along."""
    if vae.prior.update_state is None:
        return params
    states = []
    for replica in range(len(jax.tree.leaves(params)[0])):
        one = jax.tree.map(lambda leaf, i=replica: leaf[i], params)
        states.append(vp.init_prior_state(vae, one, **data.train, num_draws=NUM_DRAWS))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _fit_options(vae: vp.VAE, config: Settings, data: Dataset, num_replicas: int) -> dict[str, Any]:
    """Arguments of `fit` that training and cooldown share."""
    validation = data.validation if measures.reads_label(vae) else {"x": data.validation["x"]}
    return {
        "data": training_data(vae, data),
        "optimizer": optimizer_factory(config.gradients, config.prior_learning_rate_factor, config.average_decay),
        "batch_size": config.batch_size,
        "validation": validation,
        "transform": data.transform,
        "mesh": make_mesh(math.gcd(num_replicas, jax.local_device_count())) if config.devices == "all" else None,
        "callback": stop_if_asked,
    }


def _described(name: str, config: Settings) -> str:
    """A prior's name in front of its progress bar, with its place among the others, and what comes next."""
    if name not in config.priors:
        return name
    place, number = config.priors.index(name) + 1, len(config.priors)
    following = config.priors[place] if place < number else "the measures"
    return f"{name} ({place} of {number}, next: {following})"


def _announce(name: str, vae: vp.VAE, params: vp.VAEParams, config: Settings, data: Dataset) -> int:
    """Says with --verbose how large a model is and what a step costs, and returns the latter."""
    size, batch_size = sum(leaf.size for leaf in jax.tree.leaves(split_states(params)[0])), config.batch_size
    operations = cost.step_operations(vae, params, data, batch_size)
    if terminal.VERBOSE.get():
        print(
            f"{name}: {config.network} networks, {size:,} parameters; a training step of {batch_size} images is "
            f"{operations / 1e9:.3g} GFLOP of matrix products for each replica."
        )
    return operations


def refit(name: str, standard: Trained, config: Settings, data: Dataset, output_dir: Path) -> Trained:
    """Gives the trained VAEs with N(0, I) another prior, fitted to their aggregated posteriors."""
    prior, new_name = make_prior(name, config.sizes, data), f"standard, refit {name}"
    vae = standard.vae._replace(prior=prior)
    trained = kept.read(new_name, vae, standard.seeds, output_dir)
    if trained is not None:
        return trained
    fit = vp.reweight_prior if prior.config.get("factory") == "reweighted" else vp.fit_prior
    refitted = []
    seeds = tqdm(standard.seeds, desc=f"refit {name}", unit="seed", leave=False, disable=not is_live())
    for replica, seed in enumerate(seeds):
        model = standard.model(replica)
        key = jax.random.fold_in(jax.random.key(seed), 1)
        refitted.append(fit(prior, model.vae, model.params, key, data.fixed_train["x"]))
    params = _with_new_state(vae, jax.tree.map(lambda *leaves: jnp.stack(leaves), *refitted), data)
    result = standard.result._replace(params=params)
    return kept.write(standard._replace(name=new_name, vae=vae, result=result, grid=()), output_dir)


def train_all(config: Settings, data: Dataset, output_dir: Path) -> list[Trained]:
    """Trains each prior, refits the standard VAE where asked for, and keeps the models."""
    trained: list[Trained] = []
    for name in config.priors:
        trained.append(train(name, config, data, output_dir))
        drop_if_many()
        if name == "standard":
            standard = trained[-1]
            trained += [refit(other, standard, config, data, output_dir) for other in config.refit]
    return trained
