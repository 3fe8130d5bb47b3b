"""SMIC, the high-speed (HS) subset: 100 fps, 164 clips of 16 subjects, three classes, no sheet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from data_prep.datasets.base import search
from data_prep.datasets.base.database import Database
from data_prep.datasets.base.repairs import Repair
from data_prep.datasets.base.rows import Row

_SUBJECT = re.compile(r"s\d+", re.IGNORECASE)


class Smic(Database):
    """Reader of `HS/<subject>/micro/<emotion>/<clip>/`.

    Onset and offset are the first and the last frame. The release marks no apex.
    """

    name = "smic"

    def rows(self, repair_log: list[Repair]) -> Iterator[Row]:
        """Yield one row for each clip folder, also of emotions outside the classes."""
        for folder in self._subjects():
            subject = self.info.subject_name(folder.name)
            for emotion in search.subfolders(folder / "micro"):
                for clip in search.subfolders(emotion):
                    yield Row(subject, clip.name, emotion.name, clip)

    def _subjects(self) -> list[Path]:
        # The folders of the NIR and VIS cameras have the same layout, so only a folder named HS or
        # manual_dir itself is taken.
        folders = list(search.candidates(self.root, self._frames))
        hs_folders = [folder for folder in folders if folder.name.upper() == "HS"]
        for folder in [*hs_folders, *(folder for folder in folders if folder == self.root)]:
            subjects = [path for path in search.subfolders(folder) if _SUBJECT.fullmatch(path.name)]
            if any((path / "micro").is_dir() for path in subjects):
                return subjects
        kind = "" if self._frames == "auto" else f"{self._frames} "
        raise self.missing_error(f"{self.root} holds no {kind}folder HS with <subject>/micro in it")
