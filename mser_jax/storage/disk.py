"""Checks for full and read-only disks, before a long job and when an error occurs during it."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from humanize import naturalsize

from data_prep.common.errors import UserError

_TENSORSTORE = re.compile(r"os_error_code='(\d+)'")


def error_message(error: BaseException) -> str | None:
    """Return the operating system's message if an error is the disk's, else None.

    TensorStore, which writes for Orbax, raises ValueErrors that contain the system's error code.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    match = _TENSORSTORE.search(str(error))
    return os.strerror(int(match[1])) if match else None


def folder_size(folder: Path) -> int:
    """Return the total bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def free_space(folder: Path) -> int | None:
    """Return the free bytes on a folder's disk, or None if they cannot be determined."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def check_space(folder: Path, size: int, contents: str) -> None:
    """Raise UserError if a folder cannot be written or its disk lacks the space.

    Args:
      folder: Folder to write to. It is created if it does not exist.
      size: Bytes that will be written.
      contents: Description of what will be written, for the message.

    Raises:
      UserError: If the folder cannot be written, or fewer bytes are free than needed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}). Fix: give another --workdir, or "
            "permission to write to this folder."
        ) from error
    free = free_space(folder)
    if free is not None and free < size:
        raise UserError(
            f"{folder}: not enough disk space for {contents} ({naturalsize(size)} needed, "
            f"{naturalsize(free)} free). Fix: free {naturalsize(size - free)}, or give a "
            "--workdir on another disk."
        )
