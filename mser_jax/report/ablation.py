"""The ablation as a page, as a table for the terminal, and as JSON and CSV files."""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mser_jax.evaluate import metrics
from mser_jax.evaluate.compare.ablation import PARTS
from mser_jax.report import html, wording
from mser_jax.report import paired as paired_report
from mser_jax.report.html import Markup
from mser_jax.storage import history

_SERIES = {
    "added": "What each part adds to those before it",
    "left_out": "What each part adds to all others",
}
_READ = paired_report.READ.format(second="the second member", first="the first", gain="the part")
_LIMITS = (
    "The intervals speak of other subjects, not of other seeds: another training of the same "
    "member scores differently too. With few subjects they tend to be too narrow. Of several "
    "comparisons some leave 0 by chance; nothing is corrected for their number."
)
_PUBLISHED = (
    "Published: the gain in accuracy, in points of 0.01, that Jin et al. (2024, section 4.3.3) "
    "report for adding the part. Nothing of it was computed here; their protocol is "
    "leave-one-sample-out as written (eq. 4.5)."
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
    lines = [wording.counts(results["members"][0]), f"the head that answers: {_rule(results)}", ""]
    lines.append(wording.text_row("", paired_report.SCORES))
    for row in results["members"]:
        lines += paired_report.score_lines(_member_label(row), row)
    for series, title in _SERIES.items():
        if results[series]:
            lines += ["", f"{title}:", wording.text_row("", paired_report.TITLES)]
            lines += [line for row in results[series] for line in _text_rows(row)]
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
    rows = [row for name in _SERIES for row in results[name]]  # all strips have one scale
    limit = paired_report.common_limit(rows)
    return html.document(
        f"{config['name']}: ablation",
        _head(results, config),
        *(_comparisons(title, results[name], limit) for name, title in _SERIES.items()),
        html.section("How to read it", *(html.tag("p", text) for text in _notes(results))),
        _members(results, logs),
        paired_report.rerun_section(events),
        wording.footer(),
    )


def _flat_rows(results: Mapping) -> Iterable[dict[str, object]]:
    """Return each comparison as a dict of CSV cells."""
    members = {row["member"]: row for row in results["members"]}
    for series in _SERIES:
        for row in results[series]:
            cells = {"series": series, "part": row["part"]}
            cells |= {"without": row["without"], "with": row["with"]}
            for name in metrics.HEADLINE:
                cells[f"{name}_without"] = members[row["without"]][name]
                cells[f"{name}_with"] = members[row["with"]][name]
                cells |= paired_report.csv_cells(row, name)
            cells |= {name: row[name] for name in ("gained", "lost", "mcnemar_p")}
            cells["published_points"] = row["published_points"]
            yield cells | {"rule": results["rule"], "upper_bound": results["upper_bound"]}


def _text_rows(row: Mapping) -> Iterable[str]:
    """Yield the lines of a comparison: differences, interval, and the published gain."""
    yield from paired_report.text_lines(_pair_label(row, "->"), row)
    if row["published_points"]:
        yield f"  published gain in accuracy: {row['published_points']} points"


def _head(results: Mapping, config: Mapping) -> Markup:
    first = results["members"][0]
    parts = [
        html.tag("p", "mser_jax · ablation of figure 11", class_="over"),
        html.tag("h1", config["name"]),
        html.tag("p", wording.protocol(config, first["folds"]), class_="lead"),
        html.tag("p", f"{wording.counts(first)} · head: {_rule(results)}", class_="small"),
    ]
    if config["data"]["dataset"] == "synthetic":
        note = f"These clips are synthetic. {wording.SYNTHETIC}"
        parts.append(html.tag("p", note, class_="note"))
    if results["upper_bound"]:
        note = f"The rule is {_rule(results)}. This is not a result."
        parts.append(html.tag("p", note, class_="note"))
    return html.tag("header", html.join(parts))


def _comparisons(title: str, rows: list[Mapping], limit: float) -> Markup:
    if not rows:
        return Markup("")
    with_published = any(row["published_points"] for row in rows)
    header = ["", *paired_report.TITLES]
    cells = [
        [_pair_label(row, "→"), *paired_report.cells(row, limit)]
        + [row["published_points"] or ""] * with_published
        for row in rows
    ]
    return html.section(title, html.table(header + ["published"] * with_published, cells))


def _notes(results: Mapping) -> list[str]:
    several = len(results["members"][0]["seeds"]) > 1
    return [
        *(_READ, _LIMITS),
        *([paired_report.SEVERAL_SEEDS] if several else []),
        *([_PUBLISHED] if _has_published(results) else []),
    ]


def _members(results: Mapping, logs: Mapping[str, list[dict]]) -> Markup:
    rows = []
    for row in results["members"]:
        log = logs[row["member"]]
        epochs = history.epochs(log)  # rather than the stage: a stopped one is not logged
        rows.append(
            [
                html.tag("a", _member_label(row), href=f"{quote(row['folder'])}/report.html"),
                *("yes" if part in row["parts"] else "no" for part in PARTS),
                *paired_report.score_cells(row),
                history.last(log, "train").get("parameters", wording.NOT_RECORDED),
                f"{sum(epoch['seconds'] for epoch in epochs):.0f}"
                if epochs
                else wording.NOT_RECORDED,
            ]
        )
    header = ["", *PARTS, *paired_report.SCORES, "parameters", "training, s"]
    return html.section(
        "Members",
        html.table(header, rows),
        html.tag("p", "Each is a run of its own; its name leads to its report.", class_="small"),
    )


def _rule(results: Mapping) -> str:
    return results["rule"] + (f" ({wording.UPPER_BOUND})" if results["upper_bound"] else "")


def _member_label(row: Mapping) -> str:
    same = row["folder"] != row["member"]
    return row["member"] + f" (is {row['folder']})" * same


def _pair_label(row: Mapping, arrow: str) -> str:
    return f"{row['without']} {arrow} {row['with']}"


def _has_published(results: Mapping) -> bool:
    return any(row["published_points"] for row in results["added"])
