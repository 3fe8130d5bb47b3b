"""The report of a run, as a page and as a table for the terminal.

Everything is computed from the prediction table, the configuration and the log. The page's
sentences are in `report/templates/run.html` and `report/templates/run/`.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.common import terminal
from data_prep.common.fields import flatten
from mser_jax.config import zoo
from mser_jax.evaluate import calibration, hardest, inflated, scoring
from mser_jax.evaluate.compare import published
from mser_jax.evaluate.predictions import Predictions
from mser_jax.report import curves, page, plots, wording
from mser_jax.report.wording import number
from mser_jax.storage import history

# Columns of every table of scores. The macro F1 is UF1 and the micro F1 is the accuracy.
COLUMNS = ("accuracy", "uf1", "uar", "f1_weighted")
_TITLES = ("accuracy", "UF1", "UAR", "weighted F1")
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
    rows = [*_text_rows(scores)]
    if len(scores["per_dataset"]) > 1:
        rows += [[""], ["by database, under that rule *"]]
        rows += [
            [row["dataset"], *(wording.short_number(row[c]) for c in COLUMNS)]
            for row in scores["per_dataset"]
        ]
    lines += [terminal.table(["", *_TITLES], rows), ""]
    lines += ["* the rule that is reported; intervals: bootstrap over subjects"]
    lines += [wording.SAME_SCORES]
    if scores["seed_std"]:
        lines.append("scores are means over the seeds; the intervals are of these means")
    if any(row["uf1"] is None for row in scores["per_dataset"]):
        lines.append("-: a class has no clip there, and UF1 and UAR are not defined")
    return "\n".join(lines)


def _text_rows(scores: Mapping) -> Iterator[list[str]]:
    """Yield a row per rule; the reported rule is followed by its intervals."""
    for name, row in _result_rows(scores):
        is_reported = name == scores["rule"]
        yield [f"{name}{' *' * is_reported}", *_score_cells(row)]
        if is_reported:
            intervals = [scores["interval"].get(column) for column in COLUMNS]
            for title, end in (("from", 0), ("to", 1)):
                yield [
                    f"  95 % {title}",
                    *(number(pair[end]) if pair else "" for pair in intervals),
                ]
            if spread := scores["seed_std"]:
                yield ["  deviation over seeds", *_score_cells(spread)]
        if row.get("upper_bound"):
            yield [f"  ({wording.UPPER_BOUND})"]


def _result_rows(scores: Mapping) -> Iterator[tuple[str, Mapping]]:
    """Yield the name and the scores of each row of the result table."""
    for row in scores["rules"]:
        yield row["rule"], row
    yield f"always {scores['majority']['class']}", scores["majority"]
    yield "chance", scores["chance"]


def _score_cells(row: Mapping) -> list[str]:
    return [number(row[column]) for column in COLUMNS]


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
    epochs, start = history.epochs(events), history.start_event(events)
    dataset, fitted = config["data"]["dataset"], scores["calibration"]
    return page.render(
        "run.html",
        scores=scores,
        config=config,
        protocol=wording.protocol(config, scores["folds"]),
        counts=wording.counts(scores),
        failure_warning=wording.failure_warning(scores),
        same_scores=wording.SAME_SCORES,
        result_rows=list(_result_rows(scores)),
        score_columns=COLUMNS,
        score_titles=list(_TITLES),
        score_cells=_score_cells,
        published=published.rows(dataset),
        published_caveat=published.CAVEAT,
        clip_pictures=pictures,
        pictures_folder=hardest.FOLDER,
        hardest_names=hardest.clip_names(scores["hardest"]["clips"]),
        reliability=fitted and plots.png(plots.reliability(fitted["before"], fitted["after"])),
        temperature_at_limit=fitted and _is_temperature_at_limit(fitted["temperature"]),
        epochs=epochs,
        curves=_curve_pictures(epochs, len(scores["class_names"])),
        clips_per_second=history.mean_rate(epochs, "clips_per_second"),
        fraction_of_peak=history.mean_rate(epochs, "fraction_of_peak"),
        evaluated_each_epoch=evaluated_each_epoch,
        diverged=history.diverged_folds(events),
        inflated=inflated_results,
        baseline=zoo.MODELS.get(config["model"].get("name")),
        start=start,
        plan=history.last(events, "train"),
        data=history.last(events, "data"),
        stages=history.stages(events),
        rerun_command=_rerun_command(start, dataset, config["preset"]),
        fields=[(name, json.dumps(value)) for name, value in flatten(config).items()],
    )


def _is_temperature_at_limit(temperature: float) -> bool:
    return any(
        math.isclose(temperature, end, rel_tol=0.02) for end in calibration.TEMPERATURE_RANGE
    )


def _curve_pictures(epochs: list[dict], classes: int) -> list[tuple[str, bytes]]:
    """Draw each curve of the training as a title and a PNG image."""
    if not epochs:
        return []
    return [(title, plots.png(figure)) for title, figure in curves.single_figures(epochs, classes)]


def _rerun_command(start: Mapping, dataset: str, preset: str) -> str:
    """Return the command of the whole run, without the --mode of one of its parts."""
    default = f"python -m mser_jax.main --config=configs/{dataset}.py:{preset}"
    return re.sub(r" --?mode[= ]\S+", "", start.get("command", default))
