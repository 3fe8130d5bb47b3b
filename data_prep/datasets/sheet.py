"""Databases that come with a spreadsheet, whatever stands above its header row."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data_prep import repairs
from data_prep.datasets import search
from data_prep.datasets.about import KnownError
from data_prep.datasets.base import Database
from data_prep.datasets.cells import read_cells
from data_prep.datasets.rows import Row
from data_prep.errors import UserError
from data_prep.repairs import Repair

Cells = dict[str, str]  # of a row, by field
Key = tuple[str, str]  # subject, clip


class SheetDatabase(Database):
    """A database whose sheet names subject, clip, onset, apex, offset and emotion a row.

    The frames of a clip are in `<subject>/<clip>/`, unless a subclass has other `folders`.
    """

    def rows(self, found: list[Repair]) -> Iterator[Row]:
        """Yield the sheet's rows; one without a number for onset or offset is left out."""
        rows = [self._named(cells) for cells in self._read()]
        if self._corrections:
            rows = [self._corrected(cells, found) for cells in rows]
        frames = self.frames(rows)
        clips = self.folders(frames)
        for cells in rows:
            onset, apex, offset = (frame(cells[mark]) for mark in ("onset", "apex", "offset"))
            if onset is None or offset is None:
                name = f"{self.name}/{cells['subject']}/{cells['clip']}"
                stated = f"{cells['onset']} and {cells['offset']}"
                found.append(repairs.left_out(name, "no frame number for onset or offset", stated))
                continue
            clip = cells["subject"], cells["clip"]
            there = (clips[key] for key in self.keys(cells) if key in clips)
            folder = next(there, frames.joinpath(*clip))
            yield Row(*clip, cells["emotion"], folder, onset, apex, offset)
        found += self._unnamed(clips, rows)

    def facts(self) -> dict[str, str]:
        """What the rows were read from: the sheet with its digest, and the folder of the frames."""
        sheet = self.sheet()
        digest = hashlib.sha256(sheet.read_bytes()).hexdigest()
        return super().facts() | {"sheet": sheet.name, "sheet_sha256": digest}

    def folders(self, root: Path) -> dict[Key, Path]:
        """(subject, clip) -> folder of its frames, where the release's frames are in `root`."""
        return {
            (self.about.subject_name(subject.name), self.clip_name(clip.name)): clip
            for subject in search.subfolders(root)
            for clip in search.subfolders(subject)
        }

    def keys(self, cells: Cells) -> list[Key]:
        """Under which keys of `folders` a row's frames may be, the likeliest first."""
        return [(cells["subject"], cells["clip"])]

    def clip_name(self, written: str) -> str:
        """A clip's one spelling in the sheet and in the folders' names."""
        return written

    def sheet(self) -> Path:
        """The sheet: that of `config.data.sheet`, or the first of the known names that is there.

        Raises:
          UserError: there is none.
        """
        patterns = [self._sheet] if self._sheet else self.about.sheet["files"]
        folders = list(search.below(self.root))
        for pattern in patterns:
            for folder in folders:
                for path in sorted(folder.glob(pattern)):
                    if not path.name.startswith(("~$", ".")):  # of a spreadsheet that is open
                        return path
        raise self.missing(f"{self.root} holds no sheet {patterns[0]}; {self._frames_told()}")

    def frames(self, rows: Iterable[Cells]) -> Path:
        """The first folder in which there are frames of a clip of the sheet.

        Raises:
          UserError: there is none.
        """
        wanted = {key for cells in rows for key in self.keys(cells)}
        for folder in search.candidates(self.root, self._frames):
            if wanted & self.folders(folder).keys():
                return folder
        kind = "" if self._frames == "auto" else f"{self._frames} "
        raise self.missing(
            f"{self.root} holds no {kind}folder of a clip in {self.sheet().name}, such as "
            + "/".join(min(wanted, default=("", "")))
        )

    def _read(self) -> list[Cells]:
        sheet = self.sheet()
        try:
            return read_sheet(sheet, self.about.sheet)
        except UserError as error:
            raise UserError(f"{error}\nBeside that, {self._frames_told()}.") from error

    def _frames_told(self) -> str:
        """Whether there are frames, where the sheet cannot say which."""
        for folder in search.candidates(self.root, self._frames):
            clips = sum(map(search.holds_frames, self.folders(folder).values()))
            if clips:
                return f"frames of {clips} clips are in {folder}"
        return "there is no folder of frames either"

    def _unnamed(self, clips: Mapping[Key, Path], rows: Iterable[Cells]) -> Iterator[Repair]:
        """Folders of frames that are in no row: of a sheet of another date, or badly named."""
        named = {key for cells in rows for key in self.keys(cells)}
        for key, folder in clips.items():
            if key not in named and search.holds_frames(folder):
                name = "/".join((self.name, *key))
                was, reason = self.within(folder), "no row of the sheet names it"
                yield Repair(name, "folder", was, repairs.LEFT_OUT, reason)

    def _named(self, cells: Cells) -> Cells:
        """The row with the one spelling of its subject and its clip."""
        subject, clip = cells["subject"], cells["clip"]
        return cells | {
            "subject": self.about.subject_name(subject),
            "clip": self.clip_name(clip),
        }

    def _corrected(self, cells: Cells, found: list[Repair]) -> Cells:
        """The row without the known errors that it still has."""
        errors = [error for error in self.about.errors if _has(cells, error)]
        for error in errors:
            clip = f"{cells['clip']}@{error.onset}" if error.onset else cells["clip"]
            name = f"{self.name}/{cells['subject']}/{clip}"
            found.append(Repair(name, error.field, cells[error.field], error.right, error.source))
        return cells | {error.field: error.right for error in errors}


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
        at = {field: _first(names, wanted) for field, wanted in known.items()}
        missing = [field for field, column in at.items() if column is None]
        if not missing:
            return _below(rows, index, at)
        if len(missing) < len(fewest):
            fewest, nearest = missing, index
    lacking = ", ".join(_written(columns[field]) for field in fewest)
    raise UserError(
        f"{path}: no row holds all of the column names; line {nearest + 1} lacks {lacking}. "
        f"{remedy}"
    )


def simplify(name: str) -> str:
    """A column's name in lower case, letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def frame(cell: str) -> int | None:
    """A frame number, or None where the cell holds none ("/", "-1", blank)."""
    try:
        number = int(float(cell))
    except (ValueError, OverflowError):
        return None
    return number if number >= 0 else None


def _below(rows: Sequence[Sequence[str]], header: int, at: Mapping[str, int | None]) -> list[Cells]:
    """The rows below the header that hold anything, by field, with their numbers."""
    return [
        {field: cells[column] for field, column in at.items() if column is not None}
        | {"line": str(row + header + 2), "row": str(row)}
        for row, cells in enumerate(rows[header + 1 :])
        if any(cells)
    ]


def _has(cells: Cells, error: KnownError) -> bool:
    """Whether a row still has an error."""
    if error.row:
        return error.row == cells["row"] and _impossible(cells, error)
    where = cells["subject"], cells["clip"], cells[error.field]
    this = error.onset in ("", cells["onset"])
    return this and where == (error.subject, error.clip, error.stated)


def _impossible(cells: Cells, error: KnownError) -> bool:
    """Whether the offset that is stated cannot be one, and the right one can."""
    onset, offset = frame(cells["onset"]), frame(cells["offset"])
    if onset is None or error.field != "offset":
        return False
    return (offset is None or offset <= onset) and onset < int(error.right)


def _names(column: str | Sequence[str]) -> list[str]:
    return [simplify(name) for name in ([column] if isinstance(column, str) else column)]


def _written(column: str | Sequence[str]) -> str:
    return column if isinstance(column, str) else " or ".join(column)


def _first(names: Sequence[str], wanted: Iterable[str]) -> int | None:
    return next((names.index(name) for name in wanted if name in names), None)
