"""The report of a run, as a page and as a table for the terminal.

Everything is computed from the prediction table, the configuration and the log.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mser_jax.evaluate import hardest, inflated, scoring
from mser_jax.evaluate.predictions import Predictions
from mser_jax.report import curves, html, plots, wording
from mser_jax.report.html import Markup
from mser_jax.report.run import calibration as calibration_report
from mser_jax.report.run import hardest as hardest_report
from mser_jax.report.run import provenance as provenance_report
from mser_jax.report.run import scores as score_report
from mser_jax.report.run import training as training_report
from mser_jax.report.run.scores import COLUMNS, TITLES
from mser_jax.report.wording import number, text_row
from mser_jax.storage import history

_NO_PICTURES = hardest.Pictures(missing_reason="No pictures were drawn.")


def write(
    workdir: Path,
    predictions: Predictions,
    config: Mapping[str, Any],
    events: list[dict],
    pictures: hardest.Pictures = _NO_PICTURES,
) -> Path:
    """Write metrics.json, confusion.png, curves.png and report.html into `workdir`.

    With `config.report.inflated` it also writes metrics_inflated.json, from the answers that the
    training kept.

    Args:
      workdir: Existing folder.
      predictions: Prediction table.
      config: Fields of the run, as in config.json.
      events: Events of log.jsonl.
      pictures: Pictures of the hardest clips, in files below `workdir`.

    Returns:
      Path of the page.

    Raises:
      UserError: The table cannot be scored, or the training did not keep its answers.
    """
    workdir, rule = Path(workdir), config["evaluation"]["select"]
    scores = scoring.score(predictions, rule)
    (workdir / "metrics.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    matrix = plots.confusion(np.array(scores["confusion"]), scores["class_names"])
    (workdir / "confusion.png").write_bytes(plots.png(matrix))
    if epochs := history.epochs(events):
        overview = curves.overview(epochs, len(scores["class_names"]))
        (workdir / "curves.png").write_bytes(plots.png(overview))
    claimed, watched = None, (workdir / "inflated").is_dir()
    if config.get("report", {}).get("inflated"):
        claimed = inflated.write(workdir, predictions, config["train"]["epochs"], rule)
    path = workdir / "report.html"
    text = render(scores, config, events, claimed, watched, pictures)
    path.write_text(text, encoding="utf-8")
    return path


def text_table(scores: Mapping[str, Any]) -> str:
    """Format the result for the terminal, at most 80 columns wide.

    Args:
      scores: Scores as returned by `scoring.score`.
    """
    lines = [wording.counts(scores), ""]
    if failed := wording.failure_warning(scores):
        lines += [textwrap.fill(failed, 79), ""]
    lines += [text_row("", TITLES), *_text_rows(scores)]
    if len(scores["per_dataset"]) > 1:
        lines += ["", "by database, under that rule *"]
        lines += [
            text_row(row["dataset"], [wording.short_number(row[c]) for c in COLUMNS])
            for row in scores["per_dataset"]
        ]
    lines += ["", "* the rule that is reported; intervals: bootstrap over subjects"]
    if scores["seed_std"]:
        lines.append("scores are means over the seeds; the intervals are of these means")
    if any(row["uf1"] is None for row in scores["per_dataset"]):
        lines.append("-: a class has no clip there, and UF1 and UAR are not defined")
    return "\n".join(lines)


def _text_rows(scores: Mapping) -> Iterator[str]:
    """Yield a line for each rule; intervals and deviations follow the reported one."""
    for name, row, is_reported in score_report.rows(scores):
        yield text_row(f"{name}{' *' * is_reported}", [number(row[c]) for c in COLUMNS])
        if is_reported:
            lows, highs = _bounds(scores)
            yield text_row("  95 % from", lows)
            yield text_row("  95 % to", highs)
            if spread := scores["seed_std"]:
                yield text_row("  deviation over seeds", [number(spread[c]) for c in COLUMNS])
        if row.get("upper_bound"):
            yield f"  ({wording.UPPER_BOUND})"


def _bounds(scores: Mapping) -> list[list[str]]:
    intervals = [scores["interval"].get(column) for column in COLUMNS]
    return [[number(pair[end]) if pair else "" for pair in intervals] for end in (0, 1)]


def render(
    scores: Mapping[str, Any],
    config: Mapping[str, Any],
    events: list[dict],
    inflated_results: Mapping[str, Any] | None = None,
    evaluated_each_epoch: bool = False,
    pictures: hardest.Pictures = _NO_PICTURES,
) -> str:
    """Render the page in one file. Only pictures of clips lie beside it.

    Args:
      scores: Scores as returned by `scoring.score`.
      config: Fields of the run, as in config.json.
      events: Events of log.jsonl.
      inflated_results: Results as returned by `inflated.results`, if they were requested.
      evaluated_each_epoch: Whether the held-out clips were also classified after every epoch.
      pictures: Pictures of the hardest clips, in files beside the page.
    """
    return html.document(
        f"{config['name']}: report of a run",
        _head(scores, config, events),
        score_report.results(scores),
        score_report.beside_published(scores, config["data"]["dataset"]),
        score_report.confusion(scores),
        score_report.by_class(scores),
        score_report.by_subject(scores),
        hardest_report.hardest_clips(scores, pictures),
        calibration_report.confidence(scores),
        training_report.training(scores, events, evaluated_each_epoch),
        *([score_report.inflated_scores(inflated_results)] if inflated_results else []),
        training_report.run_settings(scores, config, events),
        provenance_report.clips(scores, events),
        provenance_report.stage_times(events),
        provenance_report.rerun_section(config, events),
        wording.footer(),
        allow_local_images=bool(pictures.files),
    )


def _head(scores: Mapping, config: Mapping, events: list[dict]) -> Markup:
    date = history.start_event(events).get("date", f"date {wording.NOT_RECORDED}")
    parts = [
        html.tag("p", "mser_jax · micro-expression recognition", class_="over"),
        html.tag("h1", config["name"]),
        html.tag("p", wording.protocol(config, scores["folds"]), class_="lead"),
        html.tag("p", f"{wording.counts(scores)} · {date}", class_="small"),
    ]
    if failed := wording.failure_warning(scores):
        parts.append(html.tag("p", failed, class_="note failed"))
    if config["data"]["dataset"] == "synthetic":
        note = f"These clips are synthetic. {wording.SYNTHETIC}"
        parts.append(html.tag("p", note, class_="note"))
    if scores["upper_bound"]:
        note = (
            f"The rule reported is {scores['rule']}: {wording.UPPER_BOUND}. This is not a result."
        )
        parts.append(html.tag("p", note, class_="note"))
    return html.tag("header", html.join(parts))
