"""The ablation as a page, as a table for the terminal, and as JSON and CSV files.

The page's own sentences are in `templates/ablation.html` and `templates/ablation/`.
"""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep.common import terminal
from mser_jax.evaluate import metrics
from mser_jax.evaluate.compare.ablation import PARTS
from mser_jax.report import page, paired, wording
from mser_jax.storage import history

_SERIES = {
    "added": "What each part adds to the parts before it",
    "left_out": "What each part adds to all other parts",
}
_NOTES = (
    paired.DIFFERENCES.format(second="the second member", first="the first", gain="the part"),
    paired.LIMITS.format(same="member") + " Of several comparisons, some intervals exclude 0 by "
    "chance. Nothing is corrected for the number of comparisons.",
)
_PUBLISHED = (
    "Published: the gain in accuracy, in points of 0.01, that Jin et al. (2024, section 4.3.3) "
    "report for adding the part. It was not computed here. Their protocol is leave-one-sample-out "
    "as written (eq. 4.5)."
)


def write(
    folder: Path,
    results: Mapping[str, Any],
    config: Mapping[str, Any],
    events: list[dict],
    logs: Mapping[str, list[dict]],
) -> Path:
    """Write ablation.json, ablation.csv and ablation.html.

    Args:
      folder: Folder that contains the members' folders.
      results: Results as returned by `ablation.results`.
      config: Fields of the series, as in config.json.
      events: Events of the series' log.jsonl.
      logs: Events of each member's log.

    Returns:
      Path of the page.
    """
    text = json.dumps({"name": config["name"], **results}, indent=2)
    (folder / "ablation.json").write_text(text + "\n", encoding="utf-8")
    rows = list(_flat_rows(results))
    with (folder / "ablation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    path = folder / "ablation.html"
    path.write_text(render(results, config, events, logs), encoding="utf-8")
    return path


def text_table(results: Mapping[str, Any]) -> str:
    """Format the comparisons for the terminal, at most 80 columns wide.

    Args:
      results: Results as returned by `ablation.results`.
    """
    members = [
        cells for row in results["members"] for cells in paired.score_rows(_member_label(row), row)
    ]
    bound = f" ({wording.UPPER_BOUND})" * results["upper_bound"]
    lines = [
        wording.counts(results["members"][0]),
        f"rule for the head that answers: {results['rule']}{bound}",
        "",
        terminal.table(["", *paired.SCORES], members),
    ]
    for series, title in _SERIES.items():
        if results[series]:
            rows = [cells for row in results[series] for cells in _text_rows(row)]
            lines += ["", f"{title}:", terminal.table(["", *paired.TITLES], rows)]
    return "\n".join([*lines, *(f"\n{textwrap.fill(note, 79)}" for note in _notes(results))])


def render(
    results: Mapping[str, Any],
    config: Mapping[str, Any],
    events: list[dict],
    logs: Mapping[str, list[dict]],
) -> str:
    """Render the page, which links to the members' reports and loads nothing else.

    Args:
      results: Results as returned by `ablation.results`.
      config: Fields of the series.
      events: Events of the series' log.jsonl.
      logs: Events of each member's log.
    """
    epochs = {member: history.epochs(log) for member, log in logs.items()}
    return page.render(
        "ablation.html",
        results=results,
        config=config,
        protocol=wording.protocol(config, results["members"][0]["folds"]),
        counts=wording.counts(results["members"][0]),
        series=_SERIES,
        # All strips have one scale.
        limit=paired.common_limit([row for name in _SERIES for row in results[name]]),
        notes=_notes(results),
        parts=list(PARTS),
        member_label=_member_label,
        parameters={
            member: history.last(log, "train").get("parameters") for member, log in logs.items()
        },
        # The epochs rather than the stage: a stage that was stopped is not logged.
        seconds={
            member: sum(event["seconds"] for event in rows) if rows else None
            for member, rows in epochs.items()
        },
        start=history.start_event(events),
    )


def _flat_rows(results: Mapping) -> Iterator[dict[str, object]]:
    """Yield each comparison as a dict of CSV cells."""
    members = {row["member"]: row for row in results["members"]}
    for series in _SERIES:
        for row in results[series]:
            cells = {"series": series, "part": row["part"]}
            cells |= {"without": row["without"], "with": row["with"]}
            for name in metrics.HEADLINE:
                cells[f"{name}_without"] = members[row["without"]][name]
                cells[f"{name}_with"] = members[row["with"]][name]
                cells |= paired.csv_cells(row, name)
            cells |= {name: row[name] for name in ("gained", "lost", "mcnemar_p")}
            cells["published_points"] = row["published_points"]
            yield cells | {"rule": results["rule"], "upper_bound": results["upper_bound"]}


def _text_rows(row: Mapping) -> Iterator[list[str]]:
    """Yield the rows of a comparison: differences, interval, and the published gain."""
    yield from paired.difference_rows(f"{row['without']} -> {row['with']}", row)
    if row["published_points"]:
        yield ["  published gain", f"{row['published_points']} points"]


def _notes(results: Mapping) -> list[str]:
    several = len(results["members"][0]["seeds"]) > 1
    published = any(row["published_points"] for row in results["added"])
    return [*_NOTES, *[paired.SEVERAL_SEEDS] * several, *[_PUBLISHED] * published]


def _member_label(row: Mapping) -> str:
    same = row["folder"] != row["member"]
    return row["member"] + f" (same as {row['folder']})" * same
