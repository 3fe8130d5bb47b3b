"""The cells of a sheet as text: an .xlsx workbook, or a .csv file as spreadsheets save it."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from data_prep.errors import UserError

_SEPARATORS = ",;\t"  # the second where the comma is the sign of decimals


def read_cells(path: Path) -> list[list[str]]:
    """Every row of a sheet, those without text too, so that the first has index 0.

    All rows are equally long. Of a workbook the first page is read.

    Raises:
      UserError: the file cannot be read; it names the file and the remedy.
    """
    rows = _csv(path) if path.suffix.lower() == ".csv" else _xlsx(path)
    width = max(map(len, rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows]


def _xlsx(path: Path) -> list[list[str]]:
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, InvalidFileException) as error:
        raise UserError(
            f"{path}: not a readable .xlsx sheet ({error}). Use the sheet of the release; an .xls "
            "one is saved as .xlsx first."
        ) from error
    try:
        return [[_text(cell) for cell in row] for row in book.worksheets[0].values]
    finally:
        book.close()


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
