"""Any folder: clips as pictures or videos, and a sheet of the user's own that names them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep import check, repairs
from data_prep.datasets.base import LONGEST
from data_prep.datasets.rows import Row
from data_prep.datasets.sheet import Cells, SheetDatabase, frame, read_sheet
from data_prep.errors import UserError
from data_prep.frames import Images, open_frames
from data_prep.repairs import Repair
from data_prep.video_file import FASTEST, SLOWEST, Video

MAP = "emotion"  # the one map from labels to classes: each is one
NEEDED = {"subject": "subject", "clip": "clip", "emotion": "label", "path": "path"}  # -> column


class Folder(SheetDatabase):
    """Reads `labels.csv` and the clips to which its column `path` leads.

    Onset and offset may be blank (the first and the last frame), and so may the apex (it is
    estimated), and the frames a second of a video that says them itself.
    """

    name = "folder"

    @classmethod
    def classes_of(cls, config: Any) -> tuple[str, ...]:
        """The labels, sorted: the sheet is read."""
        return cls.of(config).class_names

    def emotions(self) -> Mapping[str, list[str]]:
        """Label -> itself: each is a class.

        Raises:
          UserError: there are fewer than two, or another map is asked for.
        """
        if self._classes != MAP:
            raise UserError(check.unknown("classes of a folder", self._classes, [MAP]))
        labels = sorted({cells["emotion"] for cells in self._read()} - {""})
        if len({label.lower() for label in labels}) < len(labels):
            raise UserError(
                f"{self.sheet()}: some of the labels {', '.join(labels)} differ in capitals only. "
                "Write them alike."
            )
        if len(labels) < 2:
            raise UserError(
                f"{self.sheet()}: the column label holds {len(labels)} different labels "
                f"({', '.join(labels)}); they are the classes, of which 2 at least are needed."
            )
        return {label: [label.lower()] for label in labels}

    def rows(self, found: list[Repair]) -> Iterator[Row]:
        """Yield the sheet's rows; one that lacks something or has no numbers is left out."""
        folder = self.sheet().parent
        for cells in self._read():
            fault = _fault(cells)
            if fault:
                name = f"{self.name}/{cells['subject']}/{cells['clip']}"
                found.append(repairs.left_out(name, fault, f"line {cells['line']}"))
                continue
            onset, apex, offset = (frame(cells[mark]) for mark in ("onset", "apex", "offset"))
            path = folder / Path(cells["path"]).expanduser()
            clip = cells["subject"], cells["clip"], cells["emotion"]
            yield Row(*clip, path, onset, apex, offset, _rate(cells["fps"]))

    def open(self, row: Row) -> Images | Video:
        """A clip's frames; a video is gone through once, since nothing else tells their number.

        Raises:
          UserError: there are none, or nobody says how many a second.
        """
        last = (row.onset or 0) if row.offset is None else row.offset
        frames = open_frames(row.folder, stop=last + LONGEST + 2)
        if not (row.fps or frames.fps):
            raise UserError("neither the sheet nor the file says how many frames a second")
        return frames

    def _read(self) -> list[Cells]:
        columns = [name for field, name in self.about.sheet.items() if field != "files"]
        remedy = f"The columns are {', '.join(columns)}; cells may be blank."
        return read_sheet(self.sheet(), self.about.sheet, remedy)


def _fault(cells: Cells) -> str:
    """Why a row cannot be used, as far as it tells itself; '' where it can."""
    for field, column in NEEDED.items():
        if not cells[field]:
            return f"the column {column} is blank"
    for mark in ("onset", "offset"):
        if cells[mark] and frame(cells[mark]) is None:
            return f"the {mark} is no frame number"
    if cells["fps"] and _rate(cells["fps"]) is None:
        return f"fps is no number from {SLOWEST:g} to {FASTEST:g}"
    return ""


def _rate(cell: str) -> float | None:
    """Frames a second, also with the comma of other languages: '29,97'."""
    try:
        rate = float(cell.replace(",", "."))
    except ValueError:
        return None
    return rate if SLOWEST <= rate <= FASTEST else None
