"""CAS(ME)^3, part A: 30 fps, 860 micro-expressions in the recordings of 94 subjects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from data_prep.datasets.base import search
from data_prep.datasets.base.repairs import Repair
from data_prep.datasets.base.sheet import Cells, Key, SheetDatabase

# Folder of one expression, cut out of its recording: spNO.1_a_355.
_CUT = re.compile(r"(spno\.?\d+)_([a-z]+)_(\d+)", re.IGNORECASE)


class Casme3(SheetDatabase):
    """Reader of `part_A/spNO.1/a/color/175.jpg` or `Part_A_ME_clip/frame/spNO.1_a_355/355.jpg`.

    The second form has a folder for each expression; the last number of its name is the onset.
    """

    name = "casme3"

    def clip_name(self, text: str) -> str:
        """Return the letter of the recording in lower case.

        Some rows and folders have it as a capital.
        """
        return text.lower()

    def keys(self, cells: Cells) -> list[Key]:
        """Return the keys of the expression's own folder and of its recording's."""
        return [(cells["subject"], f"{cells['clip']}_{cells['onset']}"), *super().keys(cells)]

    def folders(self, root: Path) -> dict[Key, Path]:
        """Return (subject, clip) or (subject, clip_onset) -> folder of its colour frames."""
        if root.name.lower() == "depth":
            return {}
        recordings = {key: _colour_folder(folder) for key, folder in super().folders(root).items()}
        expressions = {
            (self.info.subject_name(match[1]), f"{self.clip_name(match[2])}_{match[3]}"): folder
            for folder in search.subfolders(root)
            if (match := _CUT.fullmatch(folder.name))
        }
        return recordings | expressions

    def _unlisted_folders(
        self, clips: Mapping[Key, Path], rows: Iterable[Cells]
    ) -> Iterator[Repair]:
        """Report folders of expressions only: most recordings hold no micro-expression."""
        expressions = {key: folder for key, folder in clips.items() if _CUT.fullmatch(folder.name)}
        return super()._unlisted_folders(expressions, rows)


def _colour_folder(recording: Path) -> Path:
    """Return the folder of colour frames; depth frames may lie beside it."""
    colour = recording / "color"
    return colour if colour.is_dir() else recording
