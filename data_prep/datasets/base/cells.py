"""The cells of a sheet (.xlsx, or .csv from a spreadsheet) as text, by column."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import openpyxl

from data_prep.common.errors import UserError

Cells = dict[str, str]  # The cells of one row, by field.
_SEPARATORS = ",;\t"  # Spreadsheets write semicolons where the comma is the decimal sign.


def read_cells(path: Path) -> list[list[str]]:
    """Read every row of a sheet, blank rows included, so that line 1 has index 0.

    All rows have the same length. In a workbook the first page that is not blank is read.

    Raises:
      UserError: The file cannot be read.
    """
    rows = _csv(path) if path.suffix.lower() == ".csv" else _xlsx(path)
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]


def read_sheet(
    path: Path,
    columns: Mapping[str, str | Sequence[str]],
    remedy: str = "use the sheet of the release.",
) -> list[Cells]:
    """Read the rows of an .xlsx or .csv sheet as text.

    The header is the first row that has a column for every field. Names are compared in lower case
    without blanks and signs, so `Onset Frame` and `OnsetFrame` are equal.

    Args:
      path: Sheet.
      columns: Field -> the name of its column, or the names in use. The key 'files' is ignored.
      remedy: What to do about a missing column, for the error message.

    Returns:
      The rows below the header that are not blank, by field. 'line' is the row's line in the file,
      from 1; 'row' is its number below the header, from 0.

    Raises:
      UserError: The file cannot be read, or it has no such header.
    """
    column_names = {field: _names(names) for field, names in columns.items() if field != "files"}
    rows = read_cells(path)
    fewest, nearest = list(column_names), 0  # The missing fields of the row that lacks the fewest.
    for index, row in enumerate(rows):
        cells = [simplify(cell) for cell in row]
        indices = {field: _first_index(cells, names) for field, names in column_names.items()}
        missing = [field for field, column in indices.items() if column is None]
        if not missing:
            return _rows_below(rows, index, indices)
        if len(missing) < len(fewest):
            fewest, nearest = missing, index
    lacking = ", ".join(_join_names(columns[field]) for field in fewest)
    raise UserError(
        f"{path}: no row holds all column names; line {nearest + 1} lacks {lacking}. Fix: {remedy}"
    )


def simplify(name: str) -> str:
    """Return a column name in lower case, reduced to letters and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def parse_frame(cell: str) -> int | None:
    """Parse a frame number; return None if the cell holds none ("/", "-1", blank)."""
    try:
        number = int(float(cell))
    except (ValueError, OverflowError):
        return None
    return number if number >= 0 else None


def _rows_below(
    rows: Sequence[Sequence[str]], header_index: int, columns: Mapping[str, int | None]
) -> list[Cells]:
    """Return the rows below the header by field, with their numbers; skip blank rows."""
    return [
        {field: cells[column] for field, column in columns.items() if column is not None}
        | {"line": str(row + header_index + 2), "row": str(row)}
        for row, cells in enumerate(rows[header_index + 1 :])
        if any(cells)
    ]


def _names(column: str | Sequence[str]) -> list[str]:
    return [simplify(name) for name in ([column] if isinstance(column, str) else column)]


def _join_names(column: str | Sequence[str]) -> str:
    return column if isinstance(column, str) else " or ".join(column)


def _first_index(cells: Sequence[str], names: Iterable[str]) -> int | None:
    return next((cells.index(name) for name in names if name in cells), None)


def _xlsx(path: Path) -> list[list[str]]:
    try:
        return _first_page(path)
    except Exception as error:  # zipfile, XML and openpyxl do not document all that they raise.
        raise UserError(
            f"{path}: not a readable .xlsx sheet ({error}). Fix: use the sheet of the release; "
            "save an .xls sheet as .xlsx first."
        ) from error


def _first_page(path: Path) -> list[list[str]]:
    with contextlib.closing(openpyxl.load_workbook(path, read_only=True, data_only=True)) as book:
        for page in book.worksheets:
            page.reset_dimensions()  # Programs other than Excel may state a wrong size.
            rows = [[_text(cell) for cell in row] for row in page.values]
            if any(map(any, rows)):
                return rows
    return []


def _csv(path: Path) -> list[list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel begins the file with a byte order mark.
        rows = csv.reader(io.StringIO(text), delimiter=max(_SEPARATORS, key=text.count))
        return [[cell.strip() for cell in row] for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a readable .csv sheet ({error}). Fix: save it as CSV in UTF-8."
        ) from error


def _text(cell: object) -> str:
    """Convert a cell to text; a whole float such as 6.0 gives '6'."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip()
