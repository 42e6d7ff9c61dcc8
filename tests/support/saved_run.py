"""The output folder of a run of compare_priors, with models that were not trained."""

import json
from dataclasses import asdict
from pathlib import Path

import jax

import vaepriors_jax as vp
from experiments.data.dataset import load
from experiments.models.vaes import make_vae
from experiments.options.config import Config
from experiments.options.resolve import resolve
from experiments.training.kept import model_folder

OPTIONS = {
    "dataset": "digits",
    "priors": ("standard", "mixture"),
    "seeds": 1,
    "hidden": (4,),
    "latent_dim": 2,
    "num_components": 3,
}


def write_run(folder: Path) -> None:
    """Writes results.json and a model of each prior."""
    data = load("digits")
    config = resolve(Config(**OPTIONS, output_dir=str(folder)), data)
    rows = []
    for name in config.priors:
        vae, init = make_vae(name, config.sizes, data)
        vp.save_model(folder / model_folder(name, 0), vae.prior, init(jax.random.key(0)))
        row = {"prior": name, "seed": 0, "num_parameters": 500, "seconds_per_epoch": 0.1, "replicas_at_once": 1}
        rows.append(row | {"best_epoch": 3, "test": {"elbo": -30.0, "log_marginal": -29.0}})
    content = {"experiment": "compare_priors", "command": "python -m experiments.compare_priors", "seconds": 9.5}
    content |= {"config": asdict(config), "rows": rows}
    (folder / "results.json").write_text(json.dumps(content))
