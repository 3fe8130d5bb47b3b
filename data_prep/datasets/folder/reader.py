"""Any folder: clips as pictures or videos, listed in the user's own sheet."""

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

MAP = "emotion"  # The only map of classes with a name: each label is a class.
# Field -> column of the sheet that must not be blank.
NEEDED = {"subject": "subject", "clip": "clip", "emotion": "label", "path": "path"}


class Folder(SheetDatabase):
    """Reader of `labels.csv` and of the clips that its column `path` points to.

    Cells of onset and offset may be blank (the first and the last frame), as may those of the apex
    (it is estimated) and of fps (if a video states its own).
    """

    name = "folder"

    @classmethod
    def classes_of(cls, config: Any) -> tuple[str, ...]:
        """Return the classes of the user's own map, else the sheet's labels, sorted."""
        return cls.from_config(config).class_names

    def emotions(self) -> Mapping[str, list[str]]:
        """Return label -> [label in lower case]: each label is a class.

        A map of the user's own may join labels.

        Raises:
          UserError: There are fewer than two labels, or another map of classes is configured.
        """
        if self._classes != MAP and not self._own_map:
            raise UserError(
                check.unknown_message("value of config.data.classes", self._classes, [MAP])
            )
        rows = self._read()
        self._check_spelling("emotion", rows)
        self._check_spelling("subject", rows)
        self._check_paths(rows)
        if self._own_map:
            return self._own_map.emotions(self.name)
        labels = sorted({cells["emotion"] for cells in rows} - {""})
        if len(labels) < 2:
            raise UserError(
                f"{self.sheet}: the column label holds fewer than two different labels "
                f"({', '.join(labels)}). Each label is a class. Fix: use at least 2 labels."
            )
        return {label: [label.lower()] for label in labels}

    def rows(self, repair_log: list[Repair]) -> Iterator[Row]:
        """Yield the rows of the sheet; leave out those with missing or faulty cells."""
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
        """Open the frames of a clip; a video is read through once to count its frames.

        Raises:
          UserError: There are no frames, or their number per second is unknown.
        """
        last = (row.onset or 0) if row.offset is None else row.offset
        frames = open_frames(row.folder, stop=last + MAX_MOVEMENT_FRAMES + 2)
        if not (row.fps or frames.fps):
            raise UserError("neither the sheet nor the file states the frames per second")
        return frames

    def _path(self, cells: Cells) -> Path:
        """Return the normalised path of a row's folder or video."""
        return Path(os.path.normpath(self.sheet.parent / Path(cells["path"]).expanduser()))

    def _check_spelling(self, field: str, rows: Iterable[Cells]) -> None:
        """Refuse a name in two spellings: such a subject would be in training and in test."""
        spellings: dict[str, str] = {}
        for cells in rows:
            name = cells[field]
            plain = re.sub(r"\d+", lambda digits: str(int(digits[0])), name.casefold())
            first = spellings.setdefault(plain, name)
            if first != name:
                raise UserError(
                    f"{self.sheet}: the column {NEEDED[field]} holds {first} and {name} (line "
                    f"{cells['line']}), which differ only in capitals or zeros. Fix: spell them "
                    "alike, or choose names that differ more."
                )

    def _check_paths(self, rows: Iterable[Cells]) -> None:
        """Refuse one path for two subjects: its frames would be in training and in test."""
        subjects: dict[Path, str] = {}
        for cells in rows:
            subject = cells["subject"]
            first = subjects.setdefault(self._path(cells), subject) if cells["path"] else subject
            if first != subject:
                raise UserError(
                    f"{self.sheet}: the path {cells['path']} belongs to {first} and, in line "
                    f"{cells['line']}, to {subject}. Fix: correct the path or the subject."
                )

    def _read(self) -> list[Cells]:
        columns = [name for field, name in self.info.sheet.items() if field != "files"]
        remedy = f"name the columns {', '.join(columns)}; cells may be blank."
        return read_sheet(self.sheet, self.info.sheet, remedy)


def _fault(cells: Cells) -> str:
    """Return why a row cannot be used, judged by its cells alone; '' if it can."""
    for field, column in NEEDED.items():
        if not cells[field]:
            return f"the column {column} is blank"
    if "/" in cells["subject"] + cells["clip"]:
        return "the name of the subject or the clip contains a /"
    for mark in ("onset", "offset"):
        if cells[mark] and parse_frame(cells[mark]) is None:
            return f"the {mark} is not a frame number"
    if cells["fps"] and _rate(cells["fps"]) is None:
        return f"fps is not a number from {MIN_FPS:g} to {MAX_FPS:g}"
    return ""


def _rate(cell: str) -> float | None:
    """Parse frames per second, also with a decimal comma; return None if invalid."""
    try:
        rate = float(cell.replace(",", "."))
    except ValueError:
        return None
    return rate if MIN_FPS <= rate <= MAX_FPS else None
