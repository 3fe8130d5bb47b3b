"""The comparison of two runs as a page, as a table for the terminal, and as files.

The page's own sentences are in `templates/comparison.html` and `templates/comparison/`.
"""

from __future__ import annotations

import csv
import json
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.common import terminal
from data_prep.common.errors import UserError
from mser_jax.evaluate import metrics
from mser_jax.evaluate.compare.runs import NAMES
from mser_jax.report import page, paired, wording

_NOTES = (
    paired.DIFFERENCES.format(second="B", first="A", gain="B"),
    paired.LIMITS.format(same="settings"),
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
        cells |= paired.csv_cells(row, score)
    return cells | {name: row[name] for name in ("gained", "lost", "mcnemar_p")}


def text_table(results: Mapping[str, Any]) -> str:
    """Format the comparison for the terminal, at most 80 columns wide.

    The names of folders may make a line longer.

    Args:
      results: Results as returned by `runs.results`.
    """
    lines, rows = [], []
    for run in results["runs"]:
        lines += [f"{run['run']}: {run['folder']}", f"   {_format_run(run)}"]
    for row in _rows(results):
        rows.append([f"{row['dataset']}: {_format_counts(row)}"])
        for run in NAMES:
            rows += paired.score_rows(f"  {run}", row[run])
        rows += paired.difference_rows("  B minus A", row)
    messages = [*_warnings(results["runs"]), *_notes(results)]
    notes = (f"\n{textwrap.fill(note, 79)}" for note in messages)
    return "\n".join([*lines, "", terminal.table(["", *paired.TITLES], rows), *notes])


def render(results: Mapping[str, Any]) -> str:
    """Render the page. It loads nothing from outside.

    Args:
      results: Results as returned by `runs.results`.
    """
    rows = _rows(results)
    return page.render(
        "comparison.html",
        results=results,
        rows=rows,
        names=NAMES,
        limit=paired.common_limit(rows),
        warnings=list(_warnings(results["runs"])),
        notes=_notes(results),
        format_counts=_format_counts,
        differing=[[field, json.dumps(a), json.dumps(b)] for field, a, b in results["differing"]],
        rerun_command="python -m mser_jax.compare "
        + shlex.join(run["folder"] for run in results["runs"]),
    )


def _notes(results: Mapping) -> list[str]:
    notes = [*_NOTES]
    if any(row["difference"]["uf1"] is None for row in results["per_dataset"]):
        notes.append(_UNDEFINED)
    if results["full"]["mcnemar_p"] is None:
        notes.append(paired.SEVERAL_SEEDS)
    return notes


def _warnings(runs: Sequence[Mapping]) -> Iterator[str]:
    """Yield what a reader must know before reading the scores."""
    for run in runs:
        if run["not_shared"]:
            yield (
                f"{run['run']} tested {wording.pluralize(run['not_shared'], 'clip')} that the "
                "other run did not test. They are left out here."
            )
        if run["upper_bound"]:
            yield (
                f"The rule of {run['run']} is {run['rule']} ({wording.UPPER_BOUND}). Its scores "
                "are not a result."
            )
    protocols = [run["protocol"] for run in runs]
    if protocols[0] != protocols[1]:
        yield (
            f"The protocols differ ({protocols[0]} and {protocols[1]}), and so do the clips of the "
            "training. This alone may cause a difference."
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
