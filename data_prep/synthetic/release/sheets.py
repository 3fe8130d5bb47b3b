"""Sheets of synthetic releases, .xlsx or .csv, with the same bytes for the same rows."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import openpyxl

# A workbook contains the time at which it was saved, and so does each file in its archive.
_SAVED = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SAVED_AT, _ARCHIVED_AT = b"2000-01-01T00:00:00Z", (1980, 1, 1, 0, 0, 0)

# Field of `Row` -> possible titles of its column. A column with another title stays empty.
_FIELDS = {
    "subject": ("Subject", "subject"),
    "clip": ("Filename", "clip"),
    "emotion": ("Estimated Emotion", "emotion", "label"),
    "onset": ("OnsetFrame", "Onset Frame", "Onset", "onset"),
    "apex": ("ApexFrame", "Apex Frame", "Apex", "apex"),
    "offset": ("OffsetFrame", "Offset Frame", "Offset", "offset"),
    "duration": ("Duration",),
    "action_units": ("Action Units", "AU"),
    "fps": ("fps",),
    "path": ("path",),
}
_FIELD_OF = {title: field for field, titles in _FIELDS.items() for title in titles}


@dataclasses.dataclass(frozen=True)
class Row:
    """An expression as a sheet states it, with the frame numbers of the files' names."""

    subject: str | int
    clip: str
    emotion: str
    onset: int
    apex: int | str
    offset: int
    action_units: str
    fps: float
    path: str

    @property
    def duration(self) -> int:
        """Number of frames from onset to offset, both included."""
        return self.offset - self.onset + 1


@dataclasses.dataclass(frozen=True)
class Sheet:
    """File of a sheet.

    Attributes:
      name: Name of the file.
      columns: Titles of the columns, separated by commas. An empty column has an empty title.
      rows_above_header: Number of rows of text above the header.
    """

    name: str
    columns: str
    rows_above_header: int = 0

    def write(self, folder: Path, rows: Sequence[Row]) -> Path:
        """Write the rows to a file in `folder` and return its path.

        The same rows give the same bytes.
        """
        titles = self.columns.split(", ")
        fields = [_FIELD_OF.get(title) for title in titles]
        table = [[f"Explanation {line + 1}"] for line in range(self.rows_above_header)]
        table.append(titles)
        table += [[getattr(row, field) if field else "" for field in fields] for row in rows]
        path = folder / self.name
        path.write_bytes(_csv(table) if path.suffix == ".csv" else _xlsx(table))
        return path


def break_sheet(path: Path) -> None:
    """Keep only the first half of a sheet's bytes, as an interrupted copy does."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _csv(table: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    return text.getvalue().encode()


def _xlsx(table: Sequence[Sequence[object]]) -> bytes:
    book, saved = openpyxl.Workbook(), io.BytesIO()
    page = book.worksheets[0]
    for cells in table:
        page.append([None if cell == "" else cell for cell in cells])
    book.save(saved)
    return _with_fixed_times(saved)


def _with_fixed_times(saved: io.BytesIO) -> bytes:
    """Return a workbook's bytes with fixed times in place of the time of saving."""
    fixed = io.BytesIO()
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(fixed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                content = _SAVED.sub(_SAVED_AT, content)
            member = zipfile.ZipInfo(name, _ARCHIVED_AT)
            member.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(member, content)
    return fixed.getvalue()
