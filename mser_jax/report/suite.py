"""The table of all models as a page, as a table for the terminal, and as JSON and CSV files."""

from __future__ import annotations

import csv
import dataclasses
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mser_jax.config import zoo
from mser_jax.evaluate import metrics
from mser_jax.evaluate.compare import published
from mser_jax.evaluate.compare.models import ALL_DATASETS
from mser_jax.report import html, wording
from mser_jax.report import paired as paired_report
from mser_jax.report.html import Markup
from mser_jax.storage import history

_READ = (
    "Each clip is answered after the last epoch, which was fixed in advance; a score "
    "is of one confusion matrix pooled over all folds, and of several seeds their mean, with the "
    "standard deviation after ±. Intervals: 95\u00a0% bootstrap over subjects. As one: the seeds "
    "answer together, by the mean of their probabilities. To the best: the difference to the model "
    "with the highest UF1, with the interval of a bootstrap that draws the same subjects for both; "
    "nothing is corrected for the number of models, and the best of many is flattered."
)
_BOUND = f"The head that answers: {{rule}} ({wording.UPPER_BOUND}). This is not a result."
_OTHERS = (
    "The published CapsuleNet saw other pictures through a network that was trained before; the "
    "one here sees images of 28 px. HTNet's areas are at fixed places here."
)
_MARK = "Published: UF1 / UAR in the papers; with *, known to be chosen on the test subject."


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
    lines = [wording.text_row("", (*paired_report.SCORES, "UF1 from", "to", "publ."))]
    for row in _rows_by_score(results):
        lines += _text_lines(row)
    names = _database_names(results)
    lines += ["", "UF1 of each database", wording.text_row("", names)]
    for row in _rows_by_score(results):
        cells = [wording.short_number(row["scores"][name]["uf1"]) for name in names]
        lines.append(wording.text_row(row["model"], cells))
    for row in _failed_rows(results):
        lines.append(
            f"{row['model']}: {wording.pluralize(len(row['failed']), 'training')} diverged"
        )
    if results["upper_bound"]:
        lines = [textwrap.fill(_BOUND.format(**results), 79), "", *lines]
    mark = "publ.: the published UF1; with *: chosen on the test subject. "
    if any(_published_score(row, "uf1") for row in _rows_by_score(results)):
        lines += ["", textwrap.fill(mark + published.COMPOSITE_CAVEAT, 79)]
    return "\n".join(lines)


def _text_lines(row: Mapping) -> Iterator[str]:
    scores, bounds = row["scores"][ALL_DATASETS], row["scores"][ALL_DATASETS]["interval"]["uf1"]
    ends = [wording.number(end) for end in bounds] if bounds else ["", ""]
    cells = [wording.short_number(scores[name]) for name in metrics.HEADLINE]
    yield wording.text_row(row["model"], [*cells, *ends, _published_score(row, "uf1")])
    if spread := row["seed_std"]:
        deviations = [wording.short_number(spread[name]) for name in metrics.HEADLINE]
        yield wording.text_row(f"  deviation, {len(row['seeds'])} seeds", deviations)
    if row["as_one"]:
        together = [
            wording.short_number(row["as_one"][ALL_DATASETS][name]) for name in metrics.HEADLINE
        ]
        yield wording.text_row("  seeds as one", together)


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
    return html.document(
        f"{config['name']}: models",
        _head(results, config),
        _overview(results),
        *(_database_section(results, name) for name in _database_names(results)),
        _seeds(results, context),
        html.section("How to read it", html.tag("p", _READ)),
        _published_section(),
        _missing_models(results, context),
        paired_report.rerun_section(events),
        wording.footer(),
    )


def _head(results: Mapping, config: Mapping) -> Markup:
    parts = [
        html.tag("p", "mser_jax · models of the field", class_="over"),
        html.tag("h1", config["name"]),
    ]
    if first := next(_rows_by_score(results), None):
        counts = [
            wording.pluralize(first[f"{name}s"], name) for name in ("clip", "subject", "fold")
        ]
        parts.append(html.tag("p", wording.protocol(config, first["folds"]), class_="lead"))
        parts.append(html.tag("p", ", ".join(counts), class_="small"))
    if results["upper_bound"]:
        parts.append(html.tag("p", _BOUND.format(**results), class_="note"))
    return html.tag("header", html.join(parts))


def _overview(results: Mapping) -> Markup:
    header = ["", *paired_report.SCORES, "to the best, UF1", "published"]
    cells = [
        [
            _model_link(row["model"]),
            *(
                _score_cell(row["scores"][ALL_DATASETS], row["seed_std"], name)
                for name in metrics.HEADLINE
            ),
            paired_report.difference_cell(row["to_best"], "uf1") if row["to_best"] else "the best",
            " / ".join(filter(None, (_published_score(row, score) for score in ("uf1", "uar")))),
        ]
        for row in _rows_by_score(results)
    ]
    return html.section(
        "Models",
        html.table(header, cells, 0),
        html.tag("p", f"A name leads to the report of its run. {_MARK} {_OTHERS}", class_="small"),
    )


def _seeds(results: Mapping, context: Context) -> Markup:
    """Show the scores of each model's averaged seeds, and the cost of its training."""
    cells = [
        [
            _model_link(row["model"]),
            len(row["seeds"]),
            *(_ensemble_score(row, name) for name in metrics.HEADLINE),
            "" if (count := context.parameters(row["model"])) is None else f"{count:,}",
            "" if (taken := context.seconds(row["model"])) is None else f"{taken:,.0f}",
            zoo.MODELS[row["model"]].settings_source,
        ]
        for row in _rows_by_score(results)
    ]
    header = ["", "seeds", "as one: accuracy", "UF1", "UAR"]
    header += ["parameters", "training, s", "settings"]
    return html.section("Seeds and cost", html.table(header, cells))


def _ensemble_score(row: Mapping, name: str) -> str:
    return wording.number(row["as_one"][ALL_DATASETS][name]) if row["as_one"] else ""


def _database_section(results: Mapping, name: str) -> Markup:
    rows = [
        [
            _model_link(row["model"]),
            *(_score_cell(row["scores"][name], None, s) for s in metrics.HEADLINE),
        ]
        for row in _rows_by_score(results)
    ]
    return html.section(f"Of {name} alone", html.table(["", *paired_report.SCORES], rows))


def _score_cell(scores: Mapping, spread: Mapping | None, name: str) -> Markup:
    """Return a cell with a score, its deviation over the seeds, and its interval."""
    text = wording.short_number(scores[name]) + (
        f" ± {wording.short_number(spread[name])}" if spread else ""
    )
    bounds = scores["interval"][name]
    below = f"{wording.number(bounds[0])} to {wording.number(bounds[1])}" if bounds else ""
    return html.join([text, html.tag("small", below, class_="under")])


def _published_section() -> Markup:
    rows = [
        (
            row.method,
            f"{row.uf1:.3f}",
            f"{row.uar:.3f}",
            "published",
            _chosen_note(row.chosen_on_test),
        )
        for row in published.COMPOSITE
    ]
    return html.section(
        "Published figures",
        html.table(["method", "UF1", "UAR", "source", ""], rows),
        html.tag("p", published.COMPOSITE_CAVEAT, class_="small"),
    )


def _chosen_note(chosen_on_test: bool) -> str:
    return "chosen on the test subject" * chosen_on_test


def _missing_models(results: Mapping, context: Context) -> Markup:
    rows = [(zoo.MODELS[name].title, reason) for name, reason in context.not_run.items()]
    rows += [
        (
            zoo.MODELS[row["model"]].title,
            f"{wording.pluralize(len(row['failed']), 'training')} diverged",
        )
        for row in _failed_rows(results)
    ]
    return html.section("Without a result", html.table(["", ""], rows)) if rows else Markup("")


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
        difference = row["to_best"] and paired_report.csv_cells(row["to_best"], score)
        cells |= {f"to_best_{key}": value for key, value in (difference or {}).items()}
    return cells


def _model_link(name: str) -> Markup:
    return html.tag("a", zoo.MODELS[name].title, href=f"{quote(name)}/report.html")


def _published_score(row: Mapping, score: str) -> str:
    """Return the published score, marked if its epoch was chosen on the test subject."""
    figures = published.composite(zoo.MODELS[row["model"]].title)
    if figures is None or row["clips"] != published.COMPOSITE_CLIPS:
        return ""
    return f"{getattr(figures, score):.3f}" + "*" * figures.chosen_on_test


def _rows_by_score(results: Mapping) -> Iterator[Mapping]:
    """Sort the models that have scores by UF1, highest first."""
    scored = [row for row in results["models"] if not row["failed"]]
    yield from sorted(scored, key=lambda row: -row["scores"][ALL_DATASETS]["uf1"])


def _failed_rows(results: Mapping) -> list[Mapping]:
    return [row for row in results["models"] if row["failed"]]


def _database_names(results: Mapping) -> list[str]:
    """List the databases that the models were tested on."""
    names = dict.fromkeys(name for row in _rows_by_score(results) for name in row["scores"])
    return [name for name in names if name != ALL_DATASETS]
