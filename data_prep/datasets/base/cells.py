"""The cells of a sheet as text, by column: an .xlsx workbook, or a .csv file of a spreadsheet."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import openpyxl

from data_prep.common.errors import UserError

Cells = dict[str, str]  # of a row, by field
_SEPARATORS = ",;\t"  # the second where the comma is the sign of decimals


def read_cells(path: Path) -> list[list[str]]:
    """Every row of a sheet, those without text too, so that the first has index 0.

    All rows are equally long. Of a workbook the first page that holds anything is read.

    Raises:
      UserError: the file cannot be read; it names the file and the remedy.
    """
    rows = _csv(path) if path.suffix.lower() == ".csv" else _xlsx(path)
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]


def read_sheet(
    path: Path,
    columns: Mapping[str, str | Sequence[str]],
    remedy: str = "Use the sheet of the release.",
) -> list[Cells]:
    """Read the rows of an .xlsx or .csv sheet as text.

    The header is the first row that has a column for every field; names are compared in lower case
    without blanks and signs, so `Onset Frame` and `OnsetFrame` are equal.

    Args:
      path: of the sheet.
      columns: field -> the name of its column, or the names in use; 'files' is no field.
      remedy: for an error, what to do where a column is missing.

    Returns:
      The rows below the header that hold anything, by field; and under 'line' their numbers in the
      file, under 'row' those below the header, from 0.

    Raises:
      UserError: when the file cannot be read or has no such header.
    """
    known = {field: _names(names) for field, names in columns.items() if field != "files"}
    rows = read_cells(path)
    fewest, nearest = list(known), 0  # columns that are missing, of the row that has the most
    for index, row in enumerate(rows):
        names = [simplify(cell) for cell in row]
        at = {field: _first_index(names, wanted) for field, wanted in known.items()}
        missing = [field for field, column in at.items() if column is None]
        if not missing:
            return _rows_below(rows, index, at)
        if len(missing) < len(fewest):
            fewest, nearest = missing, index
    lacking = ", ".join(_format_names(columns[field]) for field in fewest)
    raise UserError(
        f"{path}: no row holds all of the column names; line {nearest + 1} lacks {lacking}. "
        f"{remedy}"
    )


def simplify(name: str) -> str:
    """A column's name in lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def parse_frame(cell: str) -> int | None:
    """A frame number, or None where the cell holds none ("/", "-1", blank)."""
    try:
        number = int(float(cell))
    except (ValueError, OverflowError):
        return None
    return number if number >= 0 else None


def _rows_below(
    rows: Sequence[Sequence[str]], header_index: int, columns: Mapping[str, int | None]
) -> list[Cells]:
    """The rows below the header that hold anything, by field, with their numbers."""
    return [
        {field: cells[column] for field, column in columns.items() if column is not None}
        | {"line": str(row + header_index + 2), "row": str(row)}
        for row, cells in enumerate(rows[header_index + 1 :])
        if any(cells)
    ]


def _names(column: str | Sequence[str]) -> list[str]:
    return [simplify(name) for name in ([column] if isinstance(column, str) else column)]


def _format_names(column: str | Sequence[str]) -> str:
    return column if isinstance(column, str) else " or ".join(column)


def _first_index(names: Sequence[str], wanted: Iterable[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)


def _xlsx(path: Path) -> list[list[str]]:
    try:
        return _first_page(path)
    except Exception as error:  # zipfile, XML and openpyxl promise no list of what they can raise
        raise UserError(
            f"{path}: not a readable .xlsx sheet ({error}). Use the sheet of the release; an .xls "
            "one is saved as .xlsx first."
        ) from error


def _first_page(path: Path) -> list[list[str]]:
    with contextlib.closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
        for page in book.worksheets:
            page.reset_dimensions()  # programs that are not Excel state a wrong size
            rows = [[_text(cell) for cell in row] for row in page.values]
            if any(map(any, rows)):
                return rows
    return []


def _csv(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel puts a mark before the first column
        rows = csv.reader(io.StringIO(text), delimiter=max(_SEPARATORS, key=text.count))
        return [[cell.strip() for cell in row] for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a readable .csv sheet ({error}). Save it as CSV in UTF-8."
        ) from error


def _text(cell: object) -> str:
    """A cell as text; a spreadsheet's 6.0 is '6'."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip()
