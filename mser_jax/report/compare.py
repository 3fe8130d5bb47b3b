"""The comparison of two runs as a page, as a table for the terminal, and as files."""

from __future__ import annotations

import csv
import json
import shlex
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.common.errors import UserError
from mser_jax.evaluate import metrics
from mser_jax.evaluate.compare.runs import NAMES
from mser_jax.report import html, wording
from mser_jax.report import paired as paired_report
from mser_jax.report.html import Markup

_READ = paired_report.READ.format(second="B", first="A", gain="B")
_LIMITS = (
    "The intervals speak of other subjects, not of other seeds: another training of the same "
    "settings scores differently too. With few subjects they tend to be too narrow."
)
_UNDEFINED = "-: a class has no clip there, and UF1 and UAR are not defined."


def write(folder: Path, results: Mapping[str, Any]) -> Path:
    """Write compare.json, compare.csv and compare.html.

    Args:
      folder: Output folder, created if missing.
      results: Results as returned by `runs.results`.

    Returns:
      Path of the page.

    Raises:
      UserError: The folder cannot be written.
    """
    path = folder / "compare.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(results, indent=2)
        (folder / "compare.json").write_text(text + "\n", encoding="utf-8")
        _write_csv(folder / "compare.csv", results)
        path.write_text(render(results), encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror}. Fix: give another --out."
        ) from error
    return path


def _write_csv(path: Path, results: Mapping) -> None:
    rows = [_flat_row(row) for row in _rows(results)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _flat_row(row: Mapping) -> dict[str, object]:
    cells = {name: row[name] for name in ("dataset", "clips", "subjects")}
    for score in metrics.HEADLINE:
        cells |= {f"{score}_{run}": row[run][score] for run in NAMES}
        cells |= paired_report.csv_cells(row, score)
    return cells | {name: row[name] for name in ("gained", "lost", "mcnemar_p")}


def text_table(results: Mapping[str, Any]) -> str:
    """Format the comparison for the terminal, at most 80 columns wide.

    The names of folders may make a line longer.

    Args:
      results: Results as returned by `runs.results`.
    """
    lines = []
    for run in results["runs"]:
        lines += [f"{run['run']}: {run['folder']}", f"   {_format_run(run)}"]
    lines += ["", wording.text_row("", paired_report.TITLES)]
    for row in _rows(results):
        lines.append(f"{row['dataset']}: {_format_counts(row)}")
        for run in NAMES:
            lines += paired_report.score_lines(f"  {run}", row[run])
        lines += paired_report.text_lines("  B less A", row)
    messages = [*_warnings(results["runs"]), *_notes(results)]
    notes = (textwrap.fill(note, 79) for note in messages)
    return "\n".join([*lines, *(f"\n{note}" for note in notes)])


def render(results: Mapping[str, Any]) -> str:
    """Render the page. It loads nothing from outside.

    Args:
      results: Results as returned by `runs.results`.
    """
    rows = _rows(results)
    limit = paired_report.common_limit(rows)
    scores = [
        [f"{row['dataset']}: {run}", *paired_report.score_cells(row[run])]
        for row in rows
        for run in NAMES
    ]
    differences = [
        [
            html.join([row["dataset"], html.tag("small", _format_counts(row), class_="under")]),
            *paired_report.cells(row, limit),
        ]
        for row in rows
    ]
    return html.document(
        "Comparison of two runs",
        _head(results),
        html.section("Difference: B less A", html.table(["", *paired_report.TITLES], differences)),
        html.section("Scores", html.table(["", *paired_report.SCORES], scores)),
        html.section("How to read it", *(html.tag("p", text) for text in _notes(results))),
        _changed_clips(results),
        _different_fields(results),
        html.section("How to run it again", html.command(_command(results))),
        wording.footer(),
    )


def _head(results: Mapping) -> Markup:
    header = ["", "run", "protocol", "head that answers", "folds", "seeds", "clips", "not shared"]
    keys = ("folder", "protocol", "rule", "folds", "seeds", "clips", "not_shared")
    rows = [[run["run"], *(_format_cell(run[key]) for key in keys)] for run in results["runs"]]
    return html.tag(
        "header",
        html.tag("p", "mser_jax · micro-expression recognition", class_="over"),
        html.tag("h1", "Comparison of two runs"),
        html.tag("p", f"On {_format_counts(results['full'])} that both tested.", class_="lead"),
        html.table(header, rows),
        *(html.tag("p", note, class_="note") for note in _warnings(results["runs"])),
    )


def _format_cell(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _changed_clips(results: Mapping) -> Markup:
    parts = []
    for run, clips in (("B", results["gained_clips"]), ("A", results["lost_clips"])):
        if clips:
            summary = f"{wording.pluralize(len(clips), 'clip')} that only {run} gets right"
            names = ", ".join("/".join(clip) for clip in clips)
            parts.append(
                html.tag(
                    "details", html.tag("summary", summary), html.tag("p", names, class_="small")
                )
            )
    return html.section("Clips that differ", *parts) if parts else Markup("")


def _different_fields(results: Mapping) -> Markup:
    rows = [[field, json.dumps(a), json.dumps(b)] for field, a, b in results["differing"]]
    body = (
        html.tag("div", html.table(["field", *NAMES], rows), class_="config")
        if rows
        else html.tag("p", "In nothing that the configuration holds.")
    )
    return html.section("What the runs differ in", body)


def _notes(results: Mapping) -> list[str]:
    notes = [_READ, _LIMITS]
    if any(row["difference"]["uf1"] is None for row in results["per_dataset"]):
        notes.append(_UNDEFINED)
    if results["full"]["mcnemar_p"] is None:
        notes.append(paired_report.SEVERAL_SEEDS)
    return notes


def _warnings(runs: Sequence[Mapping]) -> Iterable[str]:
    """Yield what a reader must know before reading the scores."""
    for run in runs:
        if run["not_shared"]:
            yield (
                f"{run['run']} tested {wording.pluralize(run['not_shared'], 'clip')} that the "
                "other did not: left out here."
            )
        if run["upper_bound"]:
            yield f"The rule of {run['run']} is an {wording.UPPER_BOUND}. It is not a result."
    protocols = [run["protocol"] for run in runs]
    if protocols[0] != protocols[1]:
        yield (
            f"The protocols differ ({protocols[0]} and {protocols[1]}), and so do the clips that "
            "were trained on: a difference may come from that alone."
        )
    if "leave_one_sample_out" in protocols:
        yield "leave_one_sample_out trains on other clips of the tested subject."


def _rows(results: Mapping) -> list[Mapping]:
    """List the row of all clips, then a row for each database if there are several."""
    databases = results["per_dataset"]
    return [results["full"], *(databases if len(databases) > 1 else [])]


def _format_run(run: Mapping) -> str:
    seeds = run["seeds"]
    several = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    bound = f" ({wording.UPPER_BOUND})" if run["upper_bound"] else ""
    folds = wording.pluralize(run["folds"], "fold")
    return f"{run['protocol']}, {folds}, {several}, head: {run['rule']}{bound}"


def _format_counts(row: Mapping) -> str:
    return (
        f"{wording.pluralize(row['clips'], 'clip')} of "
        f"{wording.pluralize(row['subjects'], 'subject')}"
    )


def _command(results: Mapping) -> str:
    folders = [run["folder"] for run in results["runs"]]
    return "python -m mser_jax.compare " + shlex.join(folders)
