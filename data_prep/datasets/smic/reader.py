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
    """Reads `HS/<subject>/micro/<emotion>/<clip>/`; onset and offset are the first and last frame.

    The release marks no apex.
    """

    name = "smic"

    def rows(self, repair_log: list[Repair]) -> Iterator[Row]:
        """Yield one row for each clip folder; a folder beside the three classes is a row too."""
        for folder in self._subjects():
            subject = self.info.subject_name(folder.name)
            for emotion in search.subfolders(folder / "micro"):
                for clip in search.subfolders(emotion):
                    yield Row(subject, clip.name, emotion.name, clip)

    def _subjects(self) -> list[Path]:
        # The NIR and VIS cameras' folders look alike: only a folder called HS, or manual_dir
        # itself, is taken.
        folders = list(search.candidates(self.root, self._frames))
        named = [folder for folder in folders if folder.name.upper() == "HS"]
        for folder in [*named, *(folder for folder in folders if folder == self.root)]:
            subjects = [path for path in search.subfolders(folder) if _SUBJECT.fullmatch(path.name)]
            if any((path / "micro").is_dir() for path in subjects):
                return subjects
        kind = "" if self._frames == "auto" else f"{self._frames} "
        raise self.missing_error(f"{self.root} holds no {kind}folder HS with <subject>/micro in it")
