"""SMIC, the high-speed (HS) subset: 100 fps, 164 clips of 16 subjects, three classes, no sheet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

from data_prep.datasets.base import Database, Row, folders_below, subfolders

_SUBJECT = re.compile(r"s\d+", re.IGNORECASE)


class Smic(Database):
    """Reads `HS/<subject>/micro/<emotion>/<clip>/`; onset and offset are the first and last frame.

    The release marks no apex.
    """

    name = "smic"
    title = "SMIC (HS): spontaneous micro-expressions at 100 fps, 164 clips of 16 subjects."
    owner = (
        "Ask the Center for Machine Vision and Signal Analysis (CMVS), University of Oulu, Finland "
        "(Xiaobai Li, Guoying Zhao); https://www.oulu.fi/cmvs/node/41319"
    )
    tree = """
        SMIC/
          HS/
            s01/                        (or s1; 16 subjects)
              micro/
                negative/
                  s1_ne_01/
                    image076518.bmp     (jpg, png or bmp)
                    image076519.bmp
                positive/
                surprise/
    """
    fps = 100.0
    class_names = ("negative", "positive", "surprise")
    classes = MappingProxyType({name: name for name in class_names})

    def rows(self) -> Iterator[Row]:
        """Yield one row for each clip folder; a folder beside the three classes is a row too."""
        for subject in self._subjects():
            for emotion in subfolders(subject / "micro"):
                for clip in subfolders(emotion):
                    yield Row(subject.name, clip.name, emotion.name, clip)

    def _subjects(self) -> list[Path]:
        # The NIR and VIS cameras' folders look alike: only a folder called HS, or manual_dir
        # itself, is taken. A raw release goes before a cropped one.
        named = [folder for folder in folders_below(self.root) if folder.name.upper() == "HS"]
        named.sort(key=lambda folder: "crop" in str(folder).lower())
        for folder in [*named, self.root]:
            subjects = [path for path in subfolders(folder) if _SUBJECT.fullmatch(path.name)]
            if any((path / "micro").is_dir() for path in subjects):
                return subjects
        raise self.missing(f"{self.root} holds no folder HS with <subject>/micro in it")
