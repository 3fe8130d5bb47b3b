"""Tables of predictions from any program, as CSV files: read, checked and scored.

A table has one row for each clip, with the columns `subject`, `clip`, `label` and `prediction`, and
perhaps `dataset`, `seed`, `fold` and one column of probabilities for each class. The table of a
run, predictions.csv, is one too; its answer is the column `prediction`, whatever rule filled it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from data_prep.common import check
from data_prep.common.errors import UserError
from mser_jax.evaluate import metrics, scoring
from mser_jax.evaluate.predictions import Predictions

NEEDED = ("subject", "clip", "label", "prediction")
_OPTIONAL = ("dataset", "seed", "fold")
NO_DATASET = "all"  # database of the clips if the table does not name one
_SEPARATORS = ",;\t"
_FAILED = "failed"  # prediction of a run's failed fold
_ALL_HEADS = "all"
_PROBABILITY = re.compile(r"(?:head(\d+)|p|prob|probability)_(.+)")
_TOLERANCE = 1e-5  # of the largest probability: it may be rounded, and then equal another
_SUM_TOLERANCE = 0.02  # allows for the rounding of bfloat16 and of two decimals
_RULE = "confidence"  # the table has one head, so every rule but the upper bound gives its answer
# Scores of a run that no table from elsewhere has: it states one answer, and no training.
_OF_HEADS = ("rule", "upper_bound", "heads", "rules")
_OF_PROBABILITIES = ("hardest", "calibration")
_OF_FOLDS = ("failed", "trainings", "folds", "accuracy_fold_mean")
_OF_SEEDS = ("seeds", "seed_std", "per_seed")


@dataclasses.dataclass(frozen=True)
class ExternalTable:
    """A table of predictions from any program.

    Attributes:
      predictions: The table with one head. Without probabilities the answer has all of it.
      columns: Columns of the file that are used; 'probabilities' stands for those of all classes.
    """

    predictions: Predictions
    columns: frozenset[str]


def score(table: ExternalTable) -> dict[str, Any]:
    """Compute the scores of a table, under the keys of a run's metrics.json.

    Keys that need more than the table holds are left out.

    Args:
      table: Table of predictions.

    Returns:
      As `scoring.score`.

    Raises:
      UserError: A class has no clip, or no clip has an answer.
    """
    scores = scoring.score(table.predictions, _RULE)
    left_out = {
        *_OF_HEADS,
        *([] if "probabilities" in table.columns else _OF_PROBABILITIES),
        *([] if "fold" in table.columns else _OF_FOLDS),
        *([] if "seed" in table.columns else _OF_SEEDS),
    }
    rows = [
        {name: value for name, value in row.items() if name not in left_out}
        for row in scores["per_dataset"]
    ]
    kept_scores = {name: value for name, value in scores.items() if name not in left_out}
    return kept_scores | {"per_dataset": rows}


def read(path: Path, class_names: Sequence[str] = ()) -> ExternalTable:
    """Read a table.

    Label and prediction are names of classes, or their indices, from 0, where the names are known:
    from the columns of probabilities or from `class_names`. Without names the classes are the
    different labels, sorted. Separators are commas, semicolons or tabs.

    Args:
      path: Input file.
      class_names: Names of the classes, ordered by index; () if they follow from the file.

    Raises:
      UserError: The table cannot be used. The message names file, line and fix.
    """
    lines, separator = _read_lines(path)
    line, header = lines[0]
    names = [_column_name(cell) for cell in header]
    layout = _Layout.from_header(path, line, names, class_names)
    if len(lines) == 1:
        _fail(path, line, "there is no row below the header", "add the predictions.")
    rows = [_Row.from_cells(path, line, names, cells) for line, cells in lines[1:]]
    if not layout.class_names:
        layout = dataclasses.replace(layout, class_names=_class_names(rows))
    table = _table(rows, layout, decimal_comma=separator == ";")
    _check_answers(path, table.predictions)
    return table


def _check_answers(path: Path, predictions: Predictions) -> None:
    """Raise UserError if a class has no answered clip of some seed."""
    answered = predictions.take(~predictions.failed)
    for seed in np.unique(predictions.seed).tolist():
        absent = metrics.absent_classes(answered.take(answered.seed == seed))
        if absent:
            of_seed = f" of seed {seed}" if len(np.unique(predictions.seed)) > 1 else ""
            raise UserError(
                f"{path}: no answered clip{of_seed} has the label {absent}, so UF1 and UAR are "
                "undefined. Fix: add such clips, or remove the class from the columns of "
                "probabilities or --classes."
            )


@dataclasses.dataclass(frozen=True)
class _Row:
    """One row of the file: its line, from 1, and its cells by column."""

    path: Path
    line: int
    cells: Mapping[str, str]

    @classmethod
    def from_cells(cls, path: Path, line: int, names: Sequence[str], cells: Sequence[str]) -> _Row:
        if len(cells) != len(names):
            _fail(
                path,
                line,
                f"the line has {len(cells)} columns, the header has {len(names)}",
                "correct the line; put names that hold the separator in quotes.",
            )
        row = cls(path, line, {name: cell.strip() for name, cell in zip(names, cells)})
        for name in NEEDED:
            if not row.cells[name]:
                row.fail(f"the column {name} is blank", "fill it, or remove the row.")
        return row

    @property
    def failed(self) -> bool:
        """Whether the row is one of a run's failed fold, which has no answer."""
        return self.cells["prediction"] == _FAILED == self.cells.get("head")

    def key(self) -> tuple[str, str, str, int]:
        """Return dataset, subject, clip and seed."""
        seed = _whole_number(self.cells.get("seed", "0"))
        if seed is None:
            self.fail(
                f"the seed {self.cells['seed']!r} is not a whole number",
                "correct it, or remove the column.",
            )
        dataset = self.cells.get("dataset", NO_DATASET)
        if not dataset:
            self.fail("the column dataset is blank", "fill it, or remove the column.")
        return dataset, self.cells["subject"], self.cells["clip"], seed

    def fail(self, problem: str, remedy: str) -> NoReturn:
        _fail(self.path, self.line, problem, remedy)


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What the columns of a file mean.

    Attributes:
      class_names: Names of the classes, ordered by index; () if they are not known yet.
      heads: Head -> its columns of probabilities, by class. The head is its number as text, or ''
        if the file has only one.
      columns: As `ExternalTable.columns`.
    """

    class_names: tuple[str, ...]
    heads: Mapping[str, Sequence[str]]
    columns: frozenset[str]

    @classmethod
    def from_header(
        cls, path: Path, line: int, names: Sequence[str], class_names: Sequence[str]
    ) -> _Layout:
        """Find the columns; raise UserError if one is missing or occurs twice."""
        for name in NEEDED:
            if name not in names:
                _fail(
                    path,
                    line,
                    f"there is no column {name!r} (the columns are {', '.join(names)})",
                    f"name the columns {', '.join(NEEDED)}, and dataset if there are several.",
                )
        for name in names:
            if names.count(name) > 1:
                _fail(path, line, f"the column {name!r} occurs twice", "remove one of them.")
        heads = _probability_columns(names, class_names)
        scored = [*next(iter(heads.values()), {})]  # classes with probabilities
        if any([*columns] != scored for columns in heads.values()):
            _fail(path, line, "the heads have different classes", "give each head every class.")
        if class_names and scored and {*scored} != {*class_names}:
            _fail(
                path,
                line,
                f"the columns of probabilities are of {', '.join(scored)}, but --classes is "
                f"{', '.join(class_names)}",
                "drop --classes, or give one column for each of them.",
            )
        order = tuple(class_names) or tuple(scored)
        if scored and len(order) < 2:
            _fail(
                path,
                line,
                f"{scored[0]!r} is the only class with probabilities",
                "add a column for every class, or remove this one.",
            )
        ordered = {head: [columns[name] for name in order] for head, columns in heads.items()}
        used = [name for name in _OPTIONAL if name in names]
        used += ["probabilities"] if heads else []
        return cls(order, ordered, frozenset((*NEEDED, *used)))

    def class_index(self, row: _Row, column: str) -> int:
        """Return the class that a row's label or prediction names."""
        text = row.cells[column]
        if text in self.class_names:
            return self.class_names.index(text)
        number = _whole_number(text)
        if number is not None and str(number) in self.class_names:  # such as 1.0 for 1
            return self.class_names.index(str(number))
        if number is not None and 0 <= number < len(self.class_names):
            return number
        message = check.unknown_message(f"class in the column {column},", text, self.class_names)
        row.fail(
            message.rstrip("."),
            "correct it. The classes are those of the column label, unless columns of "
            "probabilities or --classes name them.",
        )


def _column_name(cell: str) -> str:
    """Return a name of the header; those with a meaning may have capitals."""
    name = cell.strip()
    return name.lower() if name.lower() in (*NEEDED, *_OPTIONAL, "head") else name


def _probability_columns(
    names: Sequence[str], class_names: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Return head, '' without a number -> class -> its column."""
    heads: dict[str, dict[str, str]] = {}
    for name in names:
        if match := _PROBABILITY.fullmatch(name):
            heads.setdefault(match[1] or "", {})[match[2]] = name
        elif name in class_names:
            heads.setdefault("", {})[name] = name
    return heads


def _read_lines(path: Path) -> tuple[list[tuple[int, list[str]]], str]:
    """Return number and cells of each line that is not blank, and the separator."""
    text = _read_text(path)
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines = []
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                lines.append((reader.line_num, cells))
    except csv.Error as error:
        _fail(path, reader.line_num, f"not a line of CSV ({error})", "correct the quotes.")
    if not lines:
        raise UserError(f"{path}: the file is empty. Fix: write the predictions to it.")
    return lines, separator


def _read_text(path: Path) -> str:
    if path.is_dir():
        inside = path / "predictions.csv"
        remedy = f"give {inside}" if inside.is_file() else "give a file of predictions"
        raise UserError(f"{path}: a folder, not a table. Fix: {remedy}.")
    if not path.is_file():
        raise UserError(f"{path}: no such file. Fix: correct the path.")
    content = path.read_bytes()
    if content.startswith(b"PK"):
        raise UserError(
            f"{path}: a spreadsheet or an archive, not text. Fix: save the sheet as CSV in UTF-8."
        )
    try:
        return content.decode("utf-8-sig")  # Excel begins the file with a byte order mark.
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        _fail(
            path,
            line,
            f"not text in UTF-8 (byte {content[error.start]:#04x})",
            'save it in UTF-8; in Excel the type is "CSV UTF-8".',
        )


def _class_names(rows: Sequence[_Row]) -> tuple[str, ...]:
    """Return the different labels, sorted; numbers by their value."""
    labels = {row.cells["label"] for row in rows}
    numbers = [number for label in labels if (number := _whole_number(label)) is not None]
    names = [*map(str, sorted({*numbers}))] if len(numbers) == len(labels) else sorted(labels)
    if len(names) < 2:
        path = rows[0].path
        raise UserError(
            f"{path}: {names[0]!r} is the only label, and one class has no UF1 and no UAR. Fix: "
            "add the clips of the other classes."
        )
    return tuple(names)


def _table(rows: Sequence[_Row], layout: _Layout, *, decimal_comma: bool) -> ExternalTable:
    keys: dict[tuple[str, str, str, int], int] = {}  # with the line
    for row in rows:
        key = row.key()
        first = keys.setdefault(key, row.line)
        if first != row.line:
            with_seed = "" if "seed" in layout.columns else ", or add a column seed"
            row.fail(
                f"clip {key[2]!r} of subject {key[1]!r} is in line {first} too",
                f"keep one row for each clip{with_seed}.",
            )
    datasets, subjects, clips, seeds = (np.array(column) for column in zip(*keys))
    people = (f"{dataset}/{subject}" for dataset, subject, *_ in keys)
    folds = [row.cells.get("fold") or person for row, person in zip(rows, people)]
    probabilities = np.stack([_probabilities(row, layout, decimal_comma) for row in rows])
    failed = np.isnan(probabilities).any(axis=1)
    predictions = Predictions(
        dataset=datasets,
        subject=subjects,
        clip=clips,
        seed=seeds,
        fold=np.array(folds),
        label=np.array([layout.class_index(row, "label") for row in rows]),
        probabilities=probabilities[:, None],
        train_loss=np.where(failed, np.nan, 0)[:, None].astype(np.float32),
        class_names=layout.class_names,
    )
    return ExternalTable(predictions, layout.columns)


def _probabilities(row: _Row, layout: _Layout, decimal_comma: bool) -> np.ndarray:
    """Return the probabilities of a row's answer, `[c]` float32.

    The class with the highest one is the prediction of the row. Without columns of probabilities
    it has all of it. They are NaN for a failed fold.
    """
    classes = len(layout.class_names)
    if row.failed:
        return np.full(classes, np.nan, np.float32)
    answer = layout.class_index(row, "prediction")
    if not layout.heads:
        return np.eye(classes, dtype=np.float32)[answer]
    figures = np.stack(
        [_parse_figures(row, layout.heads[head], decimal_comma) for head in _heads(row, layout)]
    )
    probabilities = figures.mean(axis=0)
    highest = probabilities.argmax()
    if probabilities[answer] < probabilities[highest] - _TOLERANCE:
        row.fail(
            f"the prediction is {layout.class_names[answer]}, but {layout.class_names[highest]} "
            f"has the highest probability ({probabilities[highest]:.3g} to "
            f"{probabilities[answer]:.3g})",
            "correct one of them, or remove the columns of probabilities.",
        )
    if highest != answer:  # a tie, which the stated prediction decides
        probabilities[answer] = np.nextafter(probabilities[highest], np.float32(2))
    return probabilities


def _heads(row: _Row, layout: _Layout) -> list[str]:
    """Return the heads whose mean is the answer of a row."""
    heads = [*layout.heads]
    named = row.cells.get("head", _ALL_HEADS)
    if len(heads) == 1 or named == _ALL_HEADS:
        return heads
    if named not in heads:
        row.fail(
            check.unknown_message("head", named, (*heads, _ALL_HEADS)).rstrip("."), "correct it."
        )
    return [named]


def _parse_figures(row: _Row, columns: Sequence[str], decimal_comma: bool) -> np.ndarray:
    """Parse the probabilities of one head, `[c]` float32."""
    figures = []
    for column in columns:
        text = row.cells[column].replace(",", ".") if decimal_comma else row.cells[column]
        try:
            figures.append(float(text))
        except ValueError:
            row.fail(
                f"{column} is {row.cells[column]!r}, not a number",
                "correct it, or remove the columns of probabilities.",
            )
        if not 0 <= figures[-1] <= 1 + _SUM_TOLERANCE:  # not even NaN
            row.fail(
                f"{column} is {text}, not a probability from 0 to 1",
                "correct it (logits need a softmax), or remove the columns of probabilities.",
            )
    if abs(sum(figures) - 1) > _SUM_TOLERANCE:
        row.fail(
            f"the probabilities sum to {sum(figures):.3g}, not to 1",
            "correct them, or remove the columns of probabilities.",
        )
    return np.array(figures, np.float32)


def _whole_number(text: str) -> int | None:
    """Parse a whole number, also one that is written as 1.0."""
    return int(text.partition(".")[0]) if re.fullmatch(r"-?\d{1,9}(\.0*)?", text) else None


def _fail(path: Path, line: int, problem: str, remedy: str) -> NoReturn:
    raise UserError(f"{path}, line {line}: {problem}. Fix: {remedy}")
