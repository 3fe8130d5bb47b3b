"""The table of all models as a page, as a table for the terminal, and as JSON and CSV files.

The page's own sentences are in `templates/suite.html` and `templates/suite/`.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep.common import terminal
from mser_jax.config import zoo
from mser_jax.evaluate import metrics
from mser_jax.evaluate.compare import published
from mser_jax.evaluate.compare.models import ALL_DATASETS
from mser_jax.report import page, paired, wording
from mser_jax.storage import history

_BOUND = (
    f"The rule for the head that answers: {{rule}} ({wording.UPPER_BOUND}). This is not a result."
)
_MARK = "publ.: the published UF1. With *: chosen on the test subject. "


@dataclasses.dataclass(frozen=True)
class Context:
    """What the page shows beside the scores.

    Attributes:
      logs: Events of each model's log.jsonl.
      not_run: Reason why each of the other models has no row.
    """

    logs: Mapping[str, list[dict]]
    not_run: Mapping[str, str]

    def parameters(self, name: str) -> int | None:
        """Return the number of a network's parameters."""
        return history.last(self.logs[name], "train").get("parameters")

    def seconds(self, name: str) -> float | None:
        """Return the duration of a training in seconds, or None if it was not recorded."""
        log = self.logs[name]
        if epochs := history.epochs(log):  # rather than the stage: a stopped one is not logged
            return sum(epoch["seconds"] for epoch in epochs)
        fitted = [stage["seconds"] for stage in history.stages(log) if stage["name"] == "fit"]
        return fitted[0] if fitted else None


def write(
    folder: Path,
    results: Mapping[str, Any],
    config: Mapping[str, Any],
    events: list[dict],
    context: Context,
) -> Path:
    """Write suite.json, suite.csv and suite.html.

    Args:
      folder: Folder that contains the models' folders.
      results: Results as returned by `models.results`.
      config: Fields of the suite, as in config.json.
      events: Events of the suite's log.jsonl.
      context: What else is known about the models.

    Returns:
      Path of the page.
    """
    document = {"name": config["name"], **results, "not_run": context.not_run}
    (folder / "suite.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    bound = {"rule": results["rule"], "upper_bound": results["upper_bound"]}
    rows = [bound | _csv_cells(row, context) for row in results["models"]]
    with (folder / "suite.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, max(rows, key=len), lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
    path = folder / "suite.html"
    path.write_text(render(results, config, events, context), encoding="utf-8")
    return path


def text_table(results: Mapping[str, Any]) -> str:
    """Format the models for the terminal, at most 80 columns wide.

    Args:
      results: Results as returned by `models.results`.
    """
    rows, names = _rows_by_score(results), _database_names(results)
    by_database = [
        [row["model"], *(wording.short_number(row["scores"][name]["uf1"]) for name in names)]
        for row in rows
    ]
    lines = [textwrap.fill(_BOUND.format(**results), 79), ""] if results["upper_bound"] else []
    titles = ["", *paired.SCORES, "UF1 from", "to", "publ."]
    lines += [terminal.table(titles, [cells for row in rows for cells in _text_rows(row)])]
    lines += ["", "UF1 of each database", terminal.table(["", *names], by_database)]
    for row in _failed_rows(results):
        failed = wording.pluralize(len(row["failed"]), "training")
        lines.append(f"{row['model']}: {failed} diverged")
    if any(_published_score(row, "uf1") for row in rows):
        lines += ["", textwrap.fill(_MARK + published.COMPOSITE_CAVEAT, 79)]
    return "\n".join(lines)


def _text_rows(row: Mapping) -> Iterator[list[str]]:
    """Yield the rows of a model: scores, deviation over seeds, averaged seeds."""
    scores, bounds = row["scores"][ALL_DATASETS], row["scores"][ALL_DATASETS]["interval"]["uf1"]
    ends = [wording.number(end) for end in bounds] if bounds else ["", ""]
    yield [row["model"], *_score_cells(scores), *ends, _published_score(row, "uf1")]
    if spread := row["seed_std"]:
        yield [f"  deviation, {len(row['seeds'])} seeds", *_score_cells(spread)]
    if row["as_one"]:
        yield ["  seeds averaged", *_score_cells(row["as_one"][ALL_DATASETS])]


def _score_cells(scores: Mapping) -> list[str]:
    return [wording.short_number(scores[name]) for name in metrics.HEADLINE]


def render(
    results: Mapping[str, Any], config: Mapping[str, Any], events: list[dict], context: Context
) -> str:
    """Render the page, which links to the models' reports and loads nothing else.

    Args:
      results: Results as returned by `models.results`.
      config: Fields of the suite.
      events: Events of the suite's log.jsonl.
      context: What else is known about the models.
    """
    rows = _rows_by_score(results)
    return page.render(
        "suite.html",
        results=results,
        config=config,
        rows=rows,
        protocol=wording.protocol(config, rows[0]["folds"]) if rows else "",
        bound=_BOUND.format(**results) if results["upper_bound"] else "",
        all_datasets=ALL_DATASETS,
        databases=_database_names(results),
        titles={name: model.title for name, model in zoo.MODELS.items()},
        settings_sources={name: model.settings_source for name, model in zoo.MODELS.items()},
        published_score=_published_score,
        published=published.COMPOSITE,
        published_caveat=published.COMPOSITE_CAVEAT,
        context=context,
        failed=_failed_rows(results),
        start=history.start_event(events),
    )


def _csv_cells(row: Mapping, context: Context) -> dict[str, object]:
    """Return a row as a dict of CSV cells."""
    name, model = row["model"], zoo.MODELS[row["model"]]
    cells: dict[str, object] = {"model": name, "title": model.title, "paper": model.paper}
    cells |= {"parameters": context.parameters(name), "training_seconds": context.seconds(name)}
    cells["diverged"] = len(row["failed"])
    if row["failed"]:
        return cells
    cells["seeds"] = len(row["seeds"])
    for score in ("uf1", "uar"):  # with a * where it is chosen on the test subject
        cells[f"published_{score}"] = _published_score(row, score)
    for database, scores in row["scores"].items():
        for score in metrics.HEADLINE:
            low, high = scores["interval"][score] or ("", "")
            cells |= {f"{database}_{score}": scores[score]}
            cells |= {f"{database}_{score}_low": low, f"{database}_{score}_high": high}
    for score in metrics.HEADLINE:
        cells[f"{score}_seed_std"] = row["seed_std"][score] if row["seed_std"] else ""
        cells[f"{score}_as_one"] = row["as_one"][ALL_DATASETS][score] if row["as_one"] else ""
        difference = row["to_best"] and paired.csv_cells(row["to_best"], score)
        cells |= {f"to_best_{key}": value for key, value in (difference or {}).items()}
    return cells


def _published_score(row: Mapping, score: str) -> str:
    """Return the published score, marked if its epoch was chosen on the test subject."""
    figures = published.composite(zoo.MODELS[row["model"]].title)
    if figures is None or row["clips"] != published.COMPOSITE_CLIPS:
        return ""
    return f"{getattr(figures, score):.3f}" + "*" * figures.chosen_on_test


def _rows_by_score(results: Mapping) -> list[Mapping]:
    """Sort the models that have scores by UF1, highest first."""
    scored = [row for row in results["models"] if not row["failed"]]
    return sorted(scored, key=lambda row: -row["scores"][ALL_DATASETS]["uf1"])


def _failed_rows(results: Mapping) -> list[Mapping]:
    return [row for row in results["models"] if row["failed"]]


def _database_names(results: Mapping) -> list[str]:
    """List the databases that the models were tested on."""
    names = dict.fromkeys(name for row in _rows_by_score(results) for name in row["scores"])
    return [name for name in names if name != ALL_DATASETS]
