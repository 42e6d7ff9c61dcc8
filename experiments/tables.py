"""Fills the tables of the README pages from the result files that they quote.

python -m experiments.tables

`<!-- results: NAME -->` is followed by a short table of `experiments/results/NAME.json`, a copy of the `results.json`
of a run. All its tables, the command, the hardware and the versions follow in a block that the reader unfolds. Runs of
other seeds lie beside it as `NAME_seed1.json` and so on; the tables are over all of them.

- `<!-- results: NAME summary -->` gives the short table alone.
- `<!-- results: NAME, NAME -->` puts several runs into one table.
- `<!-- results: NAME PART -->` gives one part of a benchmark.
- `<!-- results: configs -->` gives the published settings.
- `<!-- results: ledger -->` gives the tables of `experiments.ledger`, from `experiments/results/ledger`.

The docstrings of `experiments/configs` tell what those runs gave, also with other options (`NAME_VARIANT.json`).
"""

import argparse
import importlib
import json
import os
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments import configs
from experiments.published.queue import Queue
from experiments.published.recipe import RECIPE
from experiments.published.settings import SETTINGS
from experiments.report import choice, ledger, markdown, results, summaries
from experiments.report.classes import classes_table, words
from experiments.report.comparison import HOLES, summarize
from experiments.report.comparison_tables import samples_table, tables
from experiments.report.document import Table
from experiments.report.plane import holes_table
from experiments.report.pseudo_inputs import distances_table
from experiments.report.quality import tests
from experiments.report.recommendation import display_name, recommend
from experiments.report.results import RESULTS

HERE = Path(__file__).parent
GALLERY = HERE.parent / "vaepriors_jax" / "priors"
PAGES = tuple(folder / "README.md" for folder in (HERE.parent, HERE, RESULTS, HERE / "benchmarks", GALLERY))


BLOCK = re.compile(r"<!-- results: (\w+(?:, \w+)*)(?: (\w+))? -->\n.*?<!-- end -->", re.DOTALL)


MEASURED = re.compile(r'^Measured: .*?"""', re.DOTALL | re.MULTILINE)


def tables_of(content: dict[str, Any], part: str | None) -> Sequence[Table]:
    """The tables of one run, or of one part of a benchmark."""
    rows = content.get("rows", [])
    makers: dict[str, Callable[[], Sequence[Table]]] = {
        "benchmark": lambda: [Table(**table) for table in content["parts"][part]["tables"]],
        "prior_holes": list,  # its short table has everything
        "example": list,
        "prior_visualization": lambda: [holes_table(content)],
        "generation_quality": lambda: [samples_table(content["summary"]), *tests(rows).tables],
        "pseudo_inputs": lambda: [distances_table(rows)],
        "conditional_generation": lambda: [classes_table(rows, content["real_shares"])],
        "choose_prior": lambda: choice.tables(content),
    }
    return makers.get(content["experiment"], lambda: tables(content["summary"]))()


def describe(content: dict[str, Any], part: str | None) -> str:
    """A run's short table, and what the reader unfolds: its tables, what they say, and how they were made."""
    if part == "summary":
        made = [folded("The command", [_made(content), ""])] if content["experiment"] == "benchmark" else []
        return "\n".join([*_lines([summaries.of(content)]), *made])
    if part is not None:
        part_tables = tables_of(content, part)
        return folded(" and ".join(_capital(table.title) for table in part_tables), _lines(part_tables))
    said = [line for paragraph in _conclusion(content) for line in (f"> {paragraph}", "")]
    everything = [*_lines(tables_of(content, part)), *said, _made(content), ""]
    return "\n".join([*_lines([summaries.of(content)]), folded("All measures, and the command", everything)])


def describe_together(contents: dict[str, dict[str, Any]]) -> str:
    """Several runs in one table, each called by its name, and how each was made."""
    shared = os.path.commonprefix([*contents])
    made = [f"- `{name}`: {_made(content)}" for name, content in contents.items()]
    short = summaries.of_comparison(_named(contents, lambda name: name[len(shared) :]))
    everything = [*_lines(tables(_named(contents, str))), *made, ""]
    return "\n".join([*_lines([short]), folded("All measures, and the commands", everything)])


def _named(contents: dict[str, dict[str, Any]], title: Callable[[str], str]) -> list[dict[str, Any]]:
    """The summaries of several runs, each under the title of its run."""
    return [
        {field: value for field, value in entry.items() if field not in HOLES} | {"prior": f"`{title(name)}`"}
        for name, content in contents.items()
        for entry in content["summary"]
    ]


def folded(title: str, lines: Sequence[str]) -> str:
    """What a reader of the page unfolds."""
    return "\n".join(["<details>", f"<summary>{title}</summary>", "", *lines, "</details>"])


def _capital(title: str) -> str:
    return title[0].upper() + title[1:]


def _lines(tables: Sequence[Table]) -> list[str]:
    lines = []
    for table in tables:
        lines += [f"{_capital(table.title)}:", ""] if len(tables) > 1 else []
        lines += [markdown.table(table.header, table.rows), ""]
        lines += [" ".join(table.notes), ""] if table.notes else []
    return lines


def _conclusion(content: dict[str, Any]) -> list[str]:
    """The conclusion of a program, as paragraphs."""
    if content["experiment"] == "choose_prior":
        # Not the stored words, which may rest on older measures.
        recommendation = recommend(content["measured"], timed=not content.get("busy"))
        return [
            f"Recommended: {display_name(recommendation.prior)}. {' '.join(recommendation.reasons)}",
            " ".join([*recommendation.findings, *recommendation.certainty]),
        ]
    if content["experiment"] == "pseudo_inputs":
        return [row["answer"] for row in content["rows"]]
    return {
        "generation_quality": lambda: [" ".join(tests(content["rows"]).paragraphs)],
        "conditional_generation": lambda: [words(content["rows"], content["real_shares"])[0]],
    }.get(content["experiment"], list)()


def _made(content: dict[str, Any]) -> str:
    if content["experiment"] == "benchmark":
        return f"`{content['command']}`, on {_machine(content)}."
    seeds = ", ".join(str(seed) for seed in dict.fromkeys(row["seed"] for row in content["rows"] if "seed" in row))
    each = ", each a run by `--seed`" if content.get("runs", 1) > 1 else ""
    details = ([f"seeds {seeds}{each}"] if seeds else []) + (
        [f"S = {content['config']['num_samples']}"] if content["experiment"] in ("compare_priors", "evaluate") else []
    )
    commands = [f"`{content[name].strip()}`" for name in ("trained_by", "command") if name in content]
    return (
        f"{' and '.join(commands)}{' (' + '; '.join(details) + ')' if details else ''}, "
        f"{_duration(content, 1)} on {_machine(content)}."
    )


def _duration(content: dict[str, Any], digits: int) -> str:
    # A run that timed no epoch found its training done, in a checkpoint.
    resumed = any(row.get("seconds_per_epoch", 0) is None for row in content["rows"])
    notes = " (from a checkpoint)" if resumed else " (beside other work)" if content.get("busy") else ""
    return f"{content['seconds'] / 60:.{digits}f} minutes{notes}"


def _machine(content: dict[str, Any]) -> str:
    hardware, versions = content["hardware"], content["versions"]
    cores = "1 core" if hardware["num_cores"] == 1 else f"{hardware['num_cores']} cores"
    processor = f"{cores} of an {hardware['processor']}"
    device = processor if hardware["platform"] == "cpu" else f"{hardware['num_devices']} {hardware['device']}"
    packages = [name for name in ("jax", "flax", "distrax", "torch", "pythae") if name in versions]
    return f"{device}; {', '.join(f'{name} {versions[name]}' for name in packages)}, Python {versions['python']}"


def fill(text: str) -> str:
    """Returns a page's text with all tables filled."""

    def block(match: re.Match[str]) -> str:
        names = match[1].split(", ")
        if names == ["configs"]:
            described = settings()
        elif names == ["ledger"]:
            described = ledger.describe(Queue(SETTINGS, RECIPE))
        elif len(names) == 1:
            described = describe(_read(names[0]), match[2])
        else:
            described = describe_together({name: _read(name) for name in names})
        return "\n".join([match[0].splitlines()[0], described, "<!-- end -->"])

    return BLOCK.sub(block, text)


def _read(name: str) -> dict[str, Any]:
    """The result file of a run; with those of its other seeds as if all had been one run."""
    files = [RESULTS / f"{name}.json", *sorted(RESULTS.glob(f"{name}_seed*.json"))]
    first, *others = (json.loads(file.read_text()) for file in files)
    if not others:
        return first
    rows = first["rows"] + [row for content in others for row in content["rows"]]
    seconds = first["seconds"] + sum(content["seconds"] for content in others)
    return first | {"rows": rows, "summary": summarize(rows), "seconds": seconds, "runs": 1 + len(others)}


def _measured(name: str) -> tuple[str, str, str] | None:
    """The test NLL of a result file, how it was measured, and on what; None of a setting that was not run."""
    if not (RESULTS / f"{name}.json").exists():
        return None
    content = _read(name)
    entry = content["summary"][0]["log_marginal"]
    seeds = len(content["rows"])
    over = f"{seeds} seeds" if seeds > 1 else "one seed, error over test images"
    how = f"{over}, S = {content['config']['num_samples']}, {_duration(content, 0)}"
    return results.format_mean(entry | {"mean": -entry["mean"]}), how, _machine(content)


def _variants(name: str) -> dict[str, str]:
    """The result files of a published setting with other options, `NAME_*.json`, and those options."""
    options_by_name = {}
    for file in sorted(RESULTS.glob(f"{name}_*.json")):
        of_another = any(file.stem.startswith(other) for other in configs.NAMES if len(other) > len(name))
        if not of_another and not re.search(r"_seed\d+$", file.stem):
            options = _read(file.stem)["command"].partition(name)[2]
            options_by_name[file.stem] = re.sub(r" --(annealing( \d+)+|output-dir \S+|seed \d+)", "", options).strip()
    return options_by_name


def fill_docstring(name: str, text: str) -> str:
    """Returns the text of a published setting's file, with what we measured in its docstring."""
    measured = _measured(name)
    words = ["Measured: {} ({}, on {}).".format(*measured) if measured else "Measured: not yet."]
    for variant, options in _variants(name).items():
        words.append("With {}: {} ({}, on {}).".format(options, *(_measured(variant) or ())))
    wrapped = "\n".join(textwrap.fill(sentence, 120, break_on_hyphens=False) for sentence in words)
    return MEASURED.sub(lambda _: wrapped + '\n"""', text, count=1)


def settings() -> str:
    """The published settings: those that we ran, and all of them to unfold."""
    header = ["setting", "published test NLL", "ours", "how"]
    rows = []
    for name in configs.NAMES:
        docstring = " ".join((importlib.import_module(f"experiments.configs.{name}").__doc__ or "").split())
        published = docstring.partition("Published: ")[2].partition(" Measured: ")[0]
        rows.append([f"`{name}`", published.rstrip("."), *(_measured(name) or ("–", "–"))[:2]])
    ran = [[name, _first(published), ours] for name, published, ours, _ in rows if ours != "–"]
    everything = folded("All settings", [markdown.table(header, rows), ""])
    return "\n".join([markdown.table(header[:3], ran), "", everything])


def _first(published: str) -> str:
    """The first published number, without its source."""
    first = re.split(r"(?<=\)), ", published)[0]
    number = re.match(r"[\d.]+( ± [\d.]+)?", first)
    return f"{number[0]}{' (unchecked)' if 'unchecked' in first else ''}" if number else "none found"


def main() -> None:
    """Fills all pages and docstrings, and says which of them changed."""
    argparse.ArgumentParser(
        "python -m experiments.tables", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    files = [Path(configs.__file__).parent / f"{name}.py" for name in configs.NAMES]
    filled = {file: fill_docstring(file.stem, file.read_text()) for file in files}
    filled |= {page: fill(page.read_text()) for page in PAGES}
    changed = [file for file, text in filled.items() if text != file.read_text()]
    for file in changed:
        file.write_text(filled[file])
        print(f"Filled {file}.")
    if not changed:
        print("All tables agree with the result files.")


if __name__ == "__main__":
    main()
