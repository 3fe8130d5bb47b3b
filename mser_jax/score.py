"""The command that scores a table of predictions: `python -m mser_jax.score predictions.csv`.

The table may be of any program. It has a row for each clip and the columns subject, clip, label and
prediction; dataset, seed, fold and the probabilities of the classes (p_<class>, or head1_<class>)
are optional.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.common import command, files
from data_prep.common.errors import UserError

WIDTH = 80
_COLUMNS = ("accuracy", "uf1", "uar")
_TITLES = ("accuracy", "UF1", "UAR")


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a table and return the exit status."""
    flags = _parser().parse_args(arguments)
    return command.run_and_get_status(lambda: _score(flags.tables, flags.out, flags.classes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mser_jax.score", description=__doc__)
    parser.add_argument(
        "tables", nargs="+", metavar="TABLE", help="CSV file; only one is scored at a time"
    )
    parser.add_argument("--out", type=Path, help="folder in which to write metrics.json")
    parser.add_argument(
        "--classes",
        default="",
        help="names of the classes, ordered by index: negative,positive,surprise; needed if label "
        "or prediction are indices and no columns of probabilities name the classes",
    )
    return parser


def _score(tables: Sequence[str], out: Path | None, classes: str) -> None:
    """Print the scores of a table, and write them if a folder is given."""
    # Imported here so that a wrong argument is reported at once.
    from mser_jax.evaluate import external_csv

    if len(tables) > 1:
        raise UserError(
            f"{len(tables)} tables are given, but one is scored at a time. Fix: give one; two "
            "finished runs are compared by python -m mser_jax.compare RUN_A RUN_B"
        )
    table = external_csv.read(command.expand_path(tables[0]), _split_classes(classes))
    scores = external_csv.score(table)
    print(text_table(scores))
    if "dataset" not in table.columns:
        print("\nNote: there is no column dataset, so all clips count as one database.")
    if out:
        print(f"\nScores: {_write(command.expand_path(out), scores)}")


def _split_classes(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    if text and (len({*names}) < max(len(names), 2) or "" in names):
        raise UserError(
            f"--classes is {text!r}. Fix: give at least two different names, as in "
            "--classes=negative,positive,surprise"
        )
    return names


def _write(folder: Path, scores: Mapping[str, Any]) -> Path:
    path = folder / "metrics.json"
    if (folder / "config.json").is_file():
        raise UserError(
            f"{folder}: the folder of a run, whose metrics.json would be replaced. Fix: give "
            "another --out."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be created ({error.strerror}). Fix: give another --out."
        ) from error
    files.write_json(path, scores, alternative="another --out")
    return path


def text_table(scores: Mapping[str, Any]) -> str:
    """Format the scores for the terminal, at most 80 columns wide.

    Args:
      scores: Scores as returned by `external_csv.score`.
    """
    from data_prep.common.terminal import table

    datasets = scores["per_dataset"]
    blocks = [
        _counts(scores),
        table(["", *_TITLES], _score_rows(scores)),
        _confusion(scores),
        table(["class", "clips", "precision", "recall", "F1"], _class_rows(scores)),
    ]
    if len(datasets) > 1:
        header = ["database", "clips", "subjects", *_TITLES]
        blocks.append(table(header, map(_dataset_row, datasets)))
    return "\n\n".join([*blocks, *_notes(scores)])


def _counts(scores: Mapping[str, Any]) -> str:
    from mser_jax.report.wording import pluralize

    seeds = len(scores.get("seeds", [0]))
    parts = [pluralize(scores["clips"], "clip"), pluralize(scores["subjects"], "subject")]
    parts.append(pluralize(len(scores["per_dataset"]), "database"))
    parts += [pluralize(seeds, "seed")] if seeds > 1 else []
    unanswered = scores["tested"] - scores["clips"]
    parts += [f"{pluralize(unanswered, 'clip')} without an answer"] if unanswered else []
    return ", ".join(parts)


def _score_rows(scores: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield the scores with intervals, then the scores of trivial answers."""
    yield ["predictions", *(_number(scores[name]) for name in _COLUMNS)]
    for end, name in enumerate(("95 % from", "95 % to")):
        pairs = [scores["interval"][column] for column in _COLUMNS]
        yield [f"  {name}", *(_number(pair and pair[end]) for pair in pairs)]
    if spread := scores.get("seed_std"):
        yield ["  deviation over seeds", *(_number(spread[name]) for name in _COLUMNS)]
    majority, chance = scores["majority"], scores["chance"]
    yield [f"always {majority['class']}", *(_number(majority[name]) for name in _COLUMNS)]
    yield ["chance", *(_number(chance[name]) for name in _COLUMNS)]


def _confusion(scores: Mapping[str, Any]) -> str:
    """Format the confusion matrix, with numbers as titles if the names are too long."""
    from data_prep.common.terminal import table

    names, counts = scores["class_names"], scores["confusion"]
    titles = [*names]
    first_width = max(len(name) for name in (*names, "true \\ answered"))
    widths = [max(len(name), len(str(max(column)))) for name, column in zip(names, zip(*counts))]
    if first_width + sum(width + 2 for width in widths) > WIDTH:
        titles = [str(number) for number in range(1, len(names) + 1)]
        names = [f"{number} {name}" for number, name in enumerate(names, 1)]
    rows = [[name, *map(str, row)] for name, row in zip(names, counts)]
    return table(["true \\ answered", *titles], rows)


def _class_rows(scores: Mapping[str, Any]) -> Iterator[list[str]]:
    for row in scores["per_class"]:
        figures = [_number(row[name]) for name in ("precision", "recall", "f1")]
        yield [row["class"], str(row["clips"]), *figures]


def _dataset_row(row: Mapping[str, Any]) -> list[str]:
    counts = [str(row["clips"]), str(row["subjects"])]
    return [row["dataset"], *counts, *(_number(row[name]) for name in _COLUMNS)]


def _notes(scores: Mapping[str, Any]) -> Iterator[str]:
    interval = scores["interval"]
    lines = ["intervals: bootstrap over subjects"]
    if interval["undefined"]:
        lines = [
            f"intervals: bootstrap over subjects; {interval['undefined']} of "
            f"{interval['resamples']} resamples lack a class and have no UF1 and UAR"
        ]
    if scores["subjects"] == 1:
        lines = ["One subject: the intervals say nothing about other people."]
    if any(row["uf1"] is None for row in scores["per_dataset"]):
        lines.append("-: a class has no clip there, so UF1 and UAR are not defined")
    yield "\n".join(textwrap.fill(line, WIDTH) for line in lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
