"""The ablation as a page, as a table for the terminal, and as files for other programs."""

from __future__ import annotations

import csv
import json
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mser_jax import history, metrics, page, report
from mser_jax.ablation import PARTS
from mser_jax.page import Markup

_TITLES = ("accuracy", "UF1", "UAR")
_SERIES = {
    "added": "What each part adds to those before it",
    "left_out": "What each part adds to all others",
}
_READ = (
    "Differences: the second member's score less the first's, so that above 0 speaks for the part; "
    "95\u00a0% intervals of the difference: bootstrap over subjects, the same resamples for both. "
    "Gained, lost: clips that only the second, or only the first, gets right; p: McNemar's exact "
    "test, which takes clips for independent. Those of one subject are not, so that p tends to be "
    "too small; the intervals allow for it."
)
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
      folder: the one that the members' folders are in.
      results: as `ablation.results` returns them.
      config: the fields of the series, as in config.json.
      events: the lines of the series' log.jsonl.
      logs: each member's lines.

    Returns:
      The path of the page.
    """
    told = json.dumps({"name": config["name"], **results}, indent=2)
    (folder / "ablation.json").write_text(told + "\n", encoding="utf-8")
    rows = list(_flat_rows(results))
    with (folder / "ablation.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    path = folder / "ablation.html"
    path.write_text(render(results, config, events, logs), encoding="utf-8")
    return path


def text_table(results: Mapping[str, Any]) -> str:
    """The comparisons for a terminal, at most 80 columns wide.

    Args:
      results: as `ablation.results` returns them.
    """
    lines = [report.counts(results["members"][0]), f"the head that answers: {_rule(results)}", ""]
    lines.append(report.text_row("", _TITLES))
    for row in results["members"]:
        scores = [report.number(row[name]) for name in metrics.HEADLINE]
        lines.append(report.text_row(_named(row), scores))
    for series, title in _SERIES.items():
        if results[series]:
            lines += ["", f"{title}:", report.text_row("", (*_TITLES, "gained", "lost", "p"))]
            lines += [line for row in results[series] for line in _text_rows(row)]
    return "\n".join([*lines, *(f"\n{textwrap.fill(note, 79)}" for note in _notes(results))])


def render(
    results: Mapping[str, Any],
    config: Mapping[str, Any],
    events: list[dict],
    logs: Mapping[str, list[dict]],
) -> str:
    """The page; it needs nothing from outside, and links to the members' reports beside it.

    Args:
      results: as `ablation.results` returns them.
      config: the fields of the series.
      events: the lines of the series' log.jsonl.
      logs: each member's lines.
    """
    rows = [row for name in _SERIES for row in results[name]]  # all strips have one scale
    limit = max(abs(end) for row in rows for end in row["interval"]["accuracy"]) or 1.0
    return page.document(
        f"{config['name']}: ablation",
        _head(results, config),
        *(_comparisons(title, results[name], limit) for name, title in _SERIES.items()),
        page.section("How to read it", *(page.tag("p", text) for text in _notes(results))),
        _members(results, logs),
        _again(events),
        report.footer(),
    )


def _flat_rows(results: Mapping) -> Iterable[dict[str, object]]:
    """One dict of plain cells for each comparison."""
    members = {row["member"]: row for row in results["members"]}
    for series in _SERIES:
        for row in results[series]:
            cells = {"series": series, "part": row["part"]}
            cells |= {"without": row["without"], "with": row["with"]}
            for name in metrics.HEADLINE:
                low, high = row["interval"][name] or ("", "")
                cells[f"{name}_without"] = members[row["without"]][name]
                cells[f"{name}_with"] = members[row["with"]][name]
                cells[f"{name}_difference"] = row["difference"][name]
                cells |= {f"{name}_low": low, f"{name}_high": high}
            cells |= {name: row[name] for name in ("gained", "lost", "mcnemar_p")}
            cells["published_points"] = row["published_points"]
            yield cells | {"rule": results["rule"], "upper_bound": results["upper_bound"]}


def _text_rows(row: Mapping) -> Iterable[str]:
    """A comparison: its line, its interval, and what was published."""
    differences = [_signed(row["difference"][name]) for name in metrics.HEADLINE]
    changed = [str(row["gained"]), str(row["lost"]), _p(row)]
    yield report.text_row(_pair(row, "->"), differences + changed)
    bounds = [row["interval"][name] for name in metrics.HEADLINE]
    for end, name in enumerate(("  95 % from", "  95 % to")):
        yield report.text_row(name, [_signed(pair[end]) if pair else "" for pair in bounds])
    if row["published_points"]:
        yield f"  published gain in accuracy: {row['published_points']} points"


def _head(results: Mapping, config: Mapping) -> Markup:
    first = results["members"][0]
    parts = [
        page.tag("p", "mser_jax · ablation of figure 11", class_="over"),
        page.tag("h1", config["name"]),
        page.tag("p", report.protocol(config, first["folds"]), class_="lead"),
        page.tag("p", f"{report.counts(first)} · head: {_rule(results)}", class_="small"),
    ]
    if config["data"]["dataset"] == "synthetic":
        note = f"These clips are synthetic. {report.SYNTHETIC}"
        parts.append(page.tag("p", note, class_="note"))
    if results["upper_bound"]:
        note = f"The rule is {_rule(results)}. This is not a result."
        parts.append(page.tag("p", note, class_="note"))
    return page.tag("header", page.join(parts))


def _comparisons(title: str, rows: list[Mapping], limit: float) -> Markup:
    if not rows:
        return Markup("")
    with_published = any(row["published_points"] for row in rows)
    header = ["", *_TITLES, "gained", "lost", "p"]
    cells = []
    for row in rows:
        accuracy, uf1, uar = (_difference(row, name) for name in metrics.HEADLINE)
        accuracy = page.join([accuracy, _strip(row, limit)])
        line = [_pair(row, "→"), accuracy, uf1, uar, row["gained"], row["lost"], _p(row)]
        cells.append(line + [row["published_points"] or ""] * with_published)
    return page.section(title, page.table(header + ["published"] * with_published, cells))


def _difference(row: Mapping, name: str) -> Markup:
    interval = row["interval"][name]
    told = f"{_signed(interval[0])} to {_signed(interval[1])}" if interval else "no interval"
    return page.join([_signed(row["difference"][name]), page.tag("small", told, class_="under")])


def _strip(row: Mapping, limit: float) -> Markup:
    """The difference of the accuracies on a scale from -limit to limit, with a tick at 0."""
    low, high = ((end / limit + 1) / 2 for end in row["interval"]["accuracy"])
    return page.strip((row["difference"]["accuracy"] / limit + 1) / 2, (low, high), 0.5)


def _notes(results: Mapping) -> list[str]:
    return [_READ, _LIMITS, *([_PUBLISHED] if _has_published(results) else [])]


def _members(results: Mapping, logs: Mapping[str, list[dict]]) -> Markup:
    rows = []
    for row in results["members"]:
        log = logs[row["member"]]
        epochs = history.epochs(log)  # rather than the stage: a stopped one is not logged
        rows.append(
            [
                page.tag("a", _named(row), href=f"{quote(row['folder'])}/report.html"),
                *("yes" if part in row["parts"] else "no" for part in PARTS),
                *(report.number(row[name]) for name in metrics.HEADLINE),
                history.last(log, "train").get("parameters", report.ABSENT),
                f"{sum(each['seconds'] for each in epochs):.0f}" if epochs else report.ABSENT,
            ]
        )
    header = ["", *PARTS, *_TITLES, "parameters", "training, s"]
    return page.section(
        "Members",
        page.table(header, rows),
        page.tag("p", "Each is a run of its own; its name leads to its report.", class_="small"),
    )


def _again(events: list[dict]) -> Markup:
    start = history.started(events)
    command = start.get("command")
    rows = [("date", start.get("date", report.ABSENT)), *start.get("versions", {}).items()]
    rows.append(("devices", ", ".join(start.get("devices", [report.ABSENT]))))
    told = page.command(command) if command else page.tag("p", f"The command was {report.ABSENT}.")
    return page.section("How to run it again", told, page.pairs(rows))


def _rule(results: Mapping) -> str:
    return results["rule"] + (f" ({report.UPPER_BOUND})" if results["upper_bound"] else "")


def _named(row: Mapping) -> str:
    same = row["folder"] != row["member"]
    return row["member"] + f" (is {row['folder']})" * same


def _pair(row: Mapping, arrow: str) -> str:
    return f"{row['without']} {arrow} {row['with']}"


def _has_published(results: Mapping) -> bool:
    return any(row["published_points"] for row in results["added"])


def _p(row: Mapping) -> str:
    return "" if row["mcnemar_p"] is None else f"{row['mcnemar_p']:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"
