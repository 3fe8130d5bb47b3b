"""Disks that are full or cannot be written: found out before a long job, recognised during it."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from data_prep.common.errors import UserError

_TENSORSTORE = re.compile(r"os_error_code='(\d+)'")


def error_message(error: BaseException) -> str | None:
    """What the operating system said, where an error is the disk's; None where it is another's.

    TensorStore, which writes for Orbax, raises ValueErrors that name the system's error.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    named = _TENSORSTORE.search(str(error))
    return os.strerror(int(named[1])) if named else None


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def format_size(size: int) -> str:
    """A number of bytes to read: '12.9 MB'."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


def free_space(folder: Path) -> int | None:
    """Bytes that may still be written there; None where that cannot be found out."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def check_space(folder: Path, size: int, contents: str) -> None:
    """Refuse a folder that cannot be written or has not the room.

    Args:
      folder: it is made if it is not there.
      size: bytes that will be written to it.
      contents: they are, for the message.

    Raises:
      UserError: with the figures and the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror}. Fix: give another --workdir, or the "
            "right to write there."
        ) from error
    room = free_space(folder)
    if room is not None and room < size:
        raise UserError(
            f"{folder} has not the room for {contents}: {format_size(size)} are needed, {format_size(room)} are "
            f"free. Fix: free {format_size(size - room)}, or give a --workdir on another disk."
        )
