"""Where in a folder that a user names the release lies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from data_prep.frames import frame_number, is_frame

DEPTH = 3  # folders below that of the user in which a release is looked for


def candidates(root: Path, frames: str) -> list[Path]:
    """The folders in which frames may be: nearest first, and raw ones before cropped ones.

    Args:
      root: the folder that the user names.
      frames: 'raw' or 'cropped' leaves the others out; 'auto' leaves out none.
    """
    folders = sorted(below(root), key=lambda folder: is_cropped(folder, root))
    if frames == "auto":
        return folders
    return [folder for folder in folders if is_cropped(folder, root) == (frames == "cropped")]


def is_cropped(folder: Path, root: Path) -> bool:
    """Whether a folder below `root` is called a cropped one; that of the user may be one itself."""
    return any("crop" in part.lower() for part in (root.name, *folder.relative_to(root).parts))


def below(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Yield `root` and the folders below it, nearest first, in the order of their names."""
    level = [root]
    for remaining in range(depth, -1, -1):
        yield from level
        if remaining:
            level = sorted(child for folder in level for child in subfolders(folder))


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder; none in one that may not be read, such as a disk's lost+found."""
    try:
        with os.scandir(folder) as entries:  # tells folders from files without asking for each
            return sorted(Path(entry.path) for entry in entries if entry.is_dir())
    except OSError:
        return []


def holds_frames(folder: Path) -> bool:
    """Whether there is a numbered picture in a folder."""
    return any(is_frame(path) and frame_number(path) is not None for path in folder.iterdir())
