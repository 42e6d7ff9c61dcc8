"""The table of a grid of learning rates and betas."""

from typing import Any

from experiments.report import results
from experiments.report.document import Table


def grid_table(rows: list[dict[str, Any]]) -> Table:
    """The validation ELBO of each setting, and which was chosen."""
    cells = [
        [
            row["prior"],
            f"{row['learning_rate']:g}",
            f"{row['beta']:g}",
            results.format_mean(row["validation_elbo"]) + (" *" if row["chosen"] else ""),
            ", ".join(map(str, row["best_epochs"])) or "–",
            str(row["num_failed"]),
        ]
        for row in rows
    ]
    header = ["prior", "learning rate", "beta", "validation ELBO", "best epochs", "failed seeds"]
    note = "* chosen, by the validation ELBO alone (beta = 1, nats, mean over seeds); the other tables show this one."
    return Table("Learning rates and betas", header, cells, [note])
