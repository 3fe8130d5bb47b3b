"""Disks that are full or cannot be written: found out before a long job, recognised during it."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from data_prep.common.errors import UserError

_TENSORSTORE = re.compile(r"os_error_code='(\d+)'")


def fault(error: BaseException) -> str | None:
    """What the operating system said, where an error is the disk's; None where it is another's.

    TensorStore, which writes for Orbax, raises ValueErrors that name the system's error.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    named = _TENSORSTORE.search(str(error))
    return os.strerror(int(named[1])) if named else None


def used(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def told(size: int) -> str:
    """A number of bytes to read: '12.9 MB'."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size / 1e3:.1f} kB"


def free(folder: Path) -> int | None:
    """Bytes that may still be written there; None where that cannot be found out."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def require(folder: Path, size: int, what: str) -> None:
    """Refuse a folder that cannot be written or has not the room.

    Args:
      folder: it is made if it is not there.
      size: bytes that will be written to it.
      what: they are, for the message.

    Raises:
      UserError: with the figures and the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror}. Remedy: give another --workdir, or the "
            "right to write there."
        ) from error
    room = free(folder)
    if room is not None and room < size:
        raise UserError(
            f"{folder} has not the room for {what}: {told(size)} are needed, {told(room)} are "
            f"free. Remedy: free {told(size - room)}, or give a --workdir on another disk."
        )
