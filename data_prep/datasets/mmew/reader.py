"""MMEW: 90 fps, 300 micro-expressions; a clip's name tells its subject."""

from __future__ import annotations

import re
from pathlib import Path

from data_prep.datasets.base import search
from data_prep.datasets.base.sheet import Cells, Key, SheetDatabase

_CLIP = re.compile(r"S\d+(-\d+)+", re.IGNORECASE)  # S13-07-001: subject, emotion, count


class Mmew(SheetDatabase):
    """Reads `Micro_Expression/<emotion>/S13-07-001/1.jpg` or `S13/<emotion>/S13-07-001/1.jpg`."""

    name = "mmew"

    def folders(self, root: Path) -> dict[Key, Path]:
        """(subject, clip) -> folder of its frames; the folders above it tell nothing more.

        Of the folders below a raw one those that are cropped are left out.
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
