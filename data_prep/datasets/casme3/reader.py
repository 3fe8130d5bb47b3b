"""CAS(ME)^3, part A: 30 fps, 860 micro-expressions in the recordings of 94 subjects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from data_prep.datasets.base import search
from data_prep.datasets.base.repairs import Repair
from data_prep.datasets.base.sheet import Cells, Key, SheetDatabase

_CUT = re.compile(r"(spno\.?\d+)_([a-z]+)_(\d+)", re.IGNORECASE)  # spNO.1_a_355


class Casme3(SheetDatabase):
    """Reads `part_A/spNO.1/a/color/175.jpg`, or `Part_A_ME_clip/frame/spNO.1_a_355/355.jpg`.

    The second is a folder for each expression, called by its onset.
    """

    name = "casme3"

    def clip_name(self, text: str) -> str:
        """The recording's letter, a capital in some rows and folders, as a small one."""
        return text.lower()

    def keys(self, cells: Cells) -> list[Key]:
        """A folder of the expression itself, or of the recording."""
        return [(cells["subject"], f"{cells['clip']}_{cells['onset']}"), *super().keys(cells)]

    def folders(self, root: Path) -> dict[Key, Path]:
        """(subject, clip, or clip and onset) -> folder of the frames in colour."""
        if root.name.lower() == "depth":
            return {}
        recordings = {key: _colour_folder(folder) for key, folder in super().folders(root).items()}
        cut = {
            (self.info.subject_name(found[1]), f"{self.clip_name(found[2])}_{found[3]}"): folder
            for folder in search.subfolders(root)
            if (found := _CUT.fullmatch(folder.name))
        }
        return recordings | cut

    def _unlisted_folders(
        self, clips: Mapping[Key, Path], rows: Iterable[Cells]
    ) -> Iterator[Repair]:
        """None of the recordings is worth a word: most hold no micro-expression."""
        cut = {key: folder for key, folder in clips.items() if _CUT.fullmatch(folder.name)}
        return super()._unlisted_folders(cut, rows)


def _colour_folder(recording: Path) -> Path:
    """Its frames in colour, where those of depth lie beside them."""
    colour = recording / "color"
    return colour if colour.is_dir() else recording
