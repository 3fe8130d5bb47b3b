"""Any folder: clips as pictures or videos, and a sheet of the user's own that names them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep.common import check
from data_prep.common.errors import UserError
from data_prep.datasets.base import repairs
from data_prep.datasets.base.cells import Cells, parse_frame, read_sheet
from data_prep.datasets.base.database import MAX_MOVEMENT_FRAMES
from data_prep.datasets.base.repairs import Repair
from data_prep.datasets.base.rows import Row
from data_prep.datasets.base.sheet import SheetDatabase
from data_prep.video.decoder import MAX_FPS, MIN_FPS
from data_prep.video.frames import Video, open_frames
from data_prep.video.pictures import Images

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
        return cls.from_config(config).class_names

    def emotions(self) -> Mapping[str, list[str]]:
        """Label -> itself: each is a class.

        Raises:
          UserError: there are fewer than two, or another map is asked for.
        """
        if self._classes != MAP:
            raise UserError(
                check.unknown_message("value of config.data.classes", self._classes, [MAP])
            )
        rows = self._read()
        self._check_spelling("emotion", rows)
        self._check_spelling("subject", rows)
        self._check_paths(rows)
        labels = sorted({cells["emotion"] for cells in rows} - {""})
        if len(labels) < 2:
            raise UserError(
                f"{self.sheet}: the column label holds fewer than two different labels "
                f"({', '.join(labels)}); they are the classes, of which 2 at least are needed."
            )
        return {label: [label.lower()] for label in labels}

    def rows(self, repair_log: list[Repair]) -> Iterator[Row]:
        """Yield the sheet's rows; one that lacks something or has no numbers is left out."""
        for cells in self._read():
            fault = _fault(cells)
            if fault:
                name = f"{self.name}/{cells['subject']}/{cells['clip']}"
                repair_log.append(repairs.left_out_row(name, fault, f"line {cells['line']}"))
                continue
            onset, apex, offset = (parse_frame(cells[mark]) for mark in ("onset", "apex", "offset"))
            clip = cells["subject"], cells["clip"], cells["emotion"]
            marks, rate = (onset, apex, offset), _rate(cells["fps"])
            yield Row(*clip, self._path(cells), *marks, rate, self._changes(cells))

    def open(self, row: Row) -> Images | Video:
        """A clip's frames; a video is gone through once, since nothing else tells their number.

        Raises:
          UserError: there are none, or nobody says how many a second.
        """
        last = (row.onset or 0) if row.offset is None else row.offset
        frames = open_frames(row.folder, stop=last + MAX_MOVEMENT_FRAMES + 2)
        if not (row.fps or frames.fps):
            raise UserError("neither the sheet nor the file says how many frames a second")
        return frames

    def _path(self, cells: Cells) -> Path:
        """A row's folder or video, spelt in one way."""
        return Path(os.path.normpath(self.sheet.parent / Path(cells["path"]).expanduser()))

    def _check_spelling(self, field: str, rows: Iterable[Cells]) -> None:
        """Refuse names spelt in two ways: such a subject would be in training and in test."""
        spelt: dict[str, str] = {}
        for cells in rows:
            name = cells[field]
            plain = re.sub(r"\d+", lambda digits: str(int(digits[0])), name.casefold())
            other = spelt.setdefault(plain, name)
            if other != name:
                raise UserError(
                    f"{self.sheet}: the column {NEEDED[field]} holds {other} and {name} (line "
                    f"{cells['line']}), which differ in capitals or zeros only. Write them alike, "
                    "or call them differently."
                )

    def _check_paths(self, rows: Iterable[Cells]) -> None:
        """Refuse frames of two subjects, which would be in training and in test."""
        subjects: dict[Path, str] = {}
        for cells in rows:
            subject = cells["subject"]
            other = subjects.setdefault(self._path(cells), subject) if cells["path"] else subject
            if other != subject:
                raise UserError(
                    f"{self.sheet}: the path {cells['path']} is one of {other} and (line "
                    f"{cells['line']}) of {subject}. Correct the path, or the subject."
                )

    def _read(self) -> list[Cells]:
        columns = [name for field, name in self.info.sheet.items() if field != "files"]
        remedy = f"The columns are {', '.join(columns)}; cells may be blank."
        return read_sheet(self.sheet, self.info.sheet, remedy)


def _fault(cells: Cells) -> str:
    """Why a row cannot be used, as far as it tells itself; '' where it can."""
    for field, column in NEEDED.items():
        if not cells[field]:
            return f"the column {column} is blank"
    if "/" in cells["subject"] + cells["clip"]:
        return "the name of the subject or the clip holds a /"
    for mark in ("onset", "offset"):
        if cells[mark] and parse_frame(cells[mark]) is None:
            return f"the {mark} is no frame number"
    if cells["fps"] and _rate(cells["fps"]) is None:
        return f"fps is no number from {MIN_FPS:g} to {MAX_FPS:g}"
    return ""


def _rate(cell: str) -> float | None:
    """Frames a second, also with the comma of other languages: '29,97'."""
    try:
        rate = float(cell.replace(",", "."))
    except ValueError:
        return None
    return rate if MIN_FPS <= rate <= MAX_FPS else None
