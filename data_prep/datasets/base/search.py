"""The search for a release within the user's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from data_prep.video.pictures import frame_number

DEPTH = 4  # Levels of folders below the user's folder that are searched.


def candidates(root: Path, frames: str) -> Iterator[Path]:
    """Yield the folders that may hold frames: raw before cropped, nearest first.

    Args:
      root: The user's folder.
      frames: 'raw' or 'cropped' yields that kind only; 'auto' yields both.
    """
    for kind in ("raw", "cropped") if frames == "auto" else (frames,):
        for folder in folders_below(root):
            if is_cropped(folder, root) == (kind == "cropped"):
                yield folder


def is_cropped(folder: Path, root: Path) -> bool:
    """Return whether the name of a folder, `root` or one in between contains 'crop'."""
    return any("crop" in part.lower() for part in (root.name, *folder.relative_to(root).parts))


def folders_below(root: Path, depth: int = DEPTH) -> Iterator[Path]:
    """Yield `root` and the folders below it, nearest first, each level sorted by path.

    Args:
      root: Folder where the search begins.
      depth: Levels of folders below `root`.
    """
    level = [root]
    for remaining in range(depth, -1, -1):
        yield from level
        if remaining:
            level = sorted(child for folder in level for child in subfolders(folder))


def subfolders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name.

    Hidden folders are skipped: a disk's waste bin or thumbnails are no part of a release. A folder
    that cannot be read, such as a disk's lost+found, has none.
    """
    try:
        with os.scandir(folder) as entries:  # Knows folders from files without a stat of each.
            names = [entry.name for entry in entries if entry.name[0] != "." and entry.is_dir()]
    except OSError:
        return []
    return [folder / name for name in sorted(names)]


def innermost(folder: Path) -> Path:
    """Return the folder within `folder` that has its name, else `folder`.

    An archive that is unpacked twice gives a folder `x/x`.
    """
    inner = folder / folder.name
    return inner if inner.is_dir() else folder


def files(root: Path, pattern: str) -> Iterator[Path]:
    """Yield the files below `root` that match; in each folder .xls files come last.

    Args:
      root: Folder where the search begins.
      pattern: Glob pattern of the file name.
    """
    for folder in folders_below(root):
        matches = (path for path in folder.glob(pattern) if not path.name.startswith(("~$", ".")))
        yield from sorted(matches, key=lambda path: (path.suffix.lower() == ".xls", path.name))


def holds_frames(folder: Path) -> bool:
    """Return whether a folder holds a numbered picture; False if it cannot be read."""
    try:
        return any(frame_number(path.name) is not None for path in folder.iterdir())
    except OSError:
        return False
