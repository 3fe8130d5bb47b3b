"""Where in a folder that a user names the release lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from data_prep.video.pictures import frame_number

DEPTH = 4  # folders below that of the user in which a release is looked for


def candidates(root: Path, frames: str) -> Iterator[Path]:
    """Yield the folders in which frames may be: raw ones before cropped ones, nearest first.

    Args:
      root: the folder that the user names.
      frames: 'raw' or 'cropped' leaves the others out; 'auto' leaves out none.
    """
    for kind in ("raw", "cropped") if frames == "auto" else (frames,):
        for folder in folders_below(root):
            if is_cropped(folder, root) == (kind == "cropped"):
                yield folder


def is_cropped(folder: Path, root: Path) -> bool:
    """Whether a folder below `root` is called a cropped one; that of the user may be one itself."""
    return any("crop" in part.lower() for part in (root.name, *folder.relative_to(root).parts))


def folders_below(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Yield `root` and the folders below it, nearest first, in the order of their names."""
    level = [root]
    for remaining in range(depth, -1, -1):
        yield from level
        if remaining:
            level = sorted(child for folder in level for child in subfolders(folder))


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder; none in one that may not be read, such as a disk's lost+found.

    A hidden one is none of the release's, such as a disk's waste bin or its thumbnails.
    """
    try:
        with os.scandir(folder) as entries:  # tells folders from files without asking for each
            names = [each.name for each in entries if each.name[0] != "." and each.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def innermost(folder: Path) -> Path:
    """The folder of the same name in a folder, as archives that are unpacked twice have it."""
    inner = folder / folder.name
    return inner if inner.is_dir() else folder


def files(root: Path, pattern: str) -> Iterator[Path]:
    """Yield the files below `root` whose names match, in each folder an .xls after an .xlsx one."""
    for folder in folders_below(root):
        found = (path for path in folder.glob(pattern) if not path.name.startswith(("~$", ".")))
        yield from sorted(found, key=lambda path: (path.suffix.lower() == ".xls", path.name))


def holds_frames(folder: Path) -> bool:
    """Whether there is a numbered picture in a folder; not in one that may not be read."""
    try:
        return any(frame_number(path.name) is not None for path in folder.iterdir())
    except OSError:
        return False
