"""Databases that come with a spreadsheet, whatever stands above its header row."""

from __future__ import annotations

import re
import zipfile
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from data_prep.clip import Clip
from data_prep.datasets.base import Database, FolderEntry, Row, folders_below
from data_prep.errors import UserError

COLUMNS = ("subject", "filename", "onsetframe", "apexframe", "offsetframe", "estimatedemotion")


class SheetDatabase(Database):
    """A database whose sheet names subject, clip, onset, apex, offset and emotion a row.

    The frames of a clip are in `<subject>/<clip>/`.
    """

    sheets: ClassVar[tuple[str, ...]]  # patterns of the sheet's file name, the best first

    @abstractmethod
    def subject(self, cell: str) -> str:
        """The name of a subject's folder, from the sheet's cell."""

    def rows(self) -> Iterator[Row]:
        """Yield the sheet's rows; a cell without a frame number gives None."""
        rows = read_sheet(self._sheet(), COLUMNS)
        clips = [(self.subject(row["subject"]), row["filename"]) for row in rows]
        frames = self._frames(clips)
        for row, (subject, clip_id) in zip(rows, clips):
            yield Row(
                subject=subject,
                clip_id=clip_id,
                emotion=row["estimatedemotion"],
                folder=frames / subject / clip_id,
                onset=frame(row["onsetframe"]),
                apex=frame(row["apexframe"]),
                offset=frame(row["offsetframe"]),
            )

    def load(self, entry: FolderEntry) -> Clip:
        """Read the clip's frames; the sheet must state its onset and offset."""
        row = entry.row
        if row.onset is None or row.offset is None:
            raise UserError(
                f"{row.subject}/{row.clip_id}: the sheet has onset {row.onset} and offset "
                f"{row.offset}. Fill in the frame numbers."
            )
        return super().load(entry)

    def _sheet(self) -> Path:
        folders = list(folders_below(self.root))
        for pattern in self.sheets:
            for folder in folders:
                for path in sorted(folder.glob(pattern)):
                    return path
        raise self.missing(f"{self.root} holds no sheet {self.sheets[0]}")

    def _frames(self, clips: Iterable[tuple[str, str]]) -> Path:
        """The nearest folder with a clip of the sheet in it, a raw release before a cropped one."""
        clips = list(clips)
        folders = sorted(folders_below(self.root), key=lambda path: "crop" in str(path).lower())
        for folder in folders:
            if any((folder / subject / clip_id).is_dir() for subject, clip_id in clips):
                return folder
        raise self.missing(f"{self.root} holds no folder of the {len(clips)} clips in the sheet")


def read_sheet(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Read the rows of an .xlsx sheet as text, by simplified column name.

    The header is the first row that holds all of `columns`; names are compared in lower case
    without blanks and signs, so `Onset Frame` and `OnsetFrame` are both 'onsetframe'.

    Raises:
      UserError: when the file cannot be read or has no such header.
    """
    rows = _cells(path)
    for index, row in enumerate(rows):
        names = [simplify(cell) for cell in row]
        if set(columns) <= set(names):
            return [dict(zip(names, row)) for row in rows[index + 1 :] if any(row)]
    raise UserError(
        f"{path}: no row holds the column names {', '.join(columns)}. Use the sheet of the release."
    )


def simplify(name: str) -> str:
    """A column's name in lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def frame(cell: str) -> int | None:
    """A frame number, or None where the cell holds no positive number ('/', '-1', blank)."""
    try:
        number = int(float(cell))
    except (ValueError, OverflowError):
        return None
    return number if number > 0 else None


def _cells(path: Path) -> list[list[str]]:
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, InvalidFileException) as error:
        raise UserError(
            f"{path}: not a readable .xlsx sheet ({error}). Use the sheet of the release."
        ) from error
    try:
        return [[_text(cell) for cell in row] for row in book.worksheets[0].values]
    finally:
        book.close()


def _text(cell: object) -> str:
    """A cell as text; a spreadsheet's 6.0 is '6'."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    return str(cell).strip()
