"""MMEW: 90 fps, 300 micro-expressions; the name of a clip contains its subject."""

from __future__ import annotations

import re
from pathlib import Path

from data_prep.datasets.base import search
from data_prep.datasets.base.sheet import Cells, Key, SheetDatabase

_CLIP = re.compile(r"S\d+(-\d+)+", re.IGNORECASE)  # S13-07-001: subject, emotion, count


class Mmew(SheetDatabase):
    """Reader of `Micro_Expression/<emotion>/<clip>/1.jpg` or `S13/<emotion>/<clip>/1.jpg`.

    A clip is named like S13-07-001.
    """

    name = "mmew"

    def folders(self, root: Path) -> dict[Key, Path]:
        """Return (subject, clip) -> folder of its frames, at any depth below `root`.

        If `root` is raw, cropped folders below it are left out.
        """
        cropped = search.is_cropped(root, root)
        return {
            (self._subject(folder.name), folder.name): folder
            for folder in search.folders_below(root)
            if _CLIP.fullmatch(folder.name) and search.is_cropped(folder, root) == cropped
        }

    def _normalize_names(self, cells: Cells) -> Cells:
        return cells | {"subject": self._subject(cells["clip"])}

    def _subject(self, clip: str) -> str:
        return self.info.subject_name(clip.partition("-")[0])
