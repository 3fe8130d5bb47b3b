"""Folders that appear complete or not at all, checksums of their files, and folder locks."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from data_prep.common.errors import UserError

INCOMPLETE = "incomplete."  # Prefix of the name of a folder that is being written.
LOCK = ".lock"  # File that `lock` leaves in a folder.
SUMS = "SHA256SUMS"  # `sha256sum --check` reads this format.
_LINE = re.compile(r"([0-9a-f]{64})  ([\w.-]+)")


@contextlib.contextmanager
def atomic_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """Yield a folder to write into that becomes `path` when the block ends well.

    The finished folder also holds the SHA-256 of its files, for `verify_checksum`. A process that
    is killed leaves a folder beside `path` whose name begins with `INCOMPLETE`.

    Args:
      path: Output folder.
      replace: Whether to replace an existing `path`.

    Raises:
      OSError: `path` exists when the block ends, and `replace` is False.
    """
    unfinished = path.parent / f"{INCOMPLETE}{uuid.uuid4().hex[:8]}_{path.name}"
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        finish(unfinished, path, replace)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def finish(unfinished: Path, path: Path, replace: bool = False) -> None:
    """Write the checksums of a completed folder and give it its final name.

    Args:
      unfinished: The completed folder.
      path: Final path.
      replace: Whether to replace an existing `path`. The old folder is removed only after the
        rename.

    Raises:
      OSError: `path` exists, and `replace` is False.
    """
    _write_checksums(unfinished)
    aside = path.parent / f"{INCOMPLETE}{uuid.uuid4().hex[:8]}_{path.name}"
    if replace and path.exists():
        path.rename(aside)
    unfinished.rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def check_replaceable(path: Path, marker: str, alternative: str = "another --out=clip/") -> None:
    """Raise UserError unless a folder is absent, empty, or written by `atomic_folder`.

    Args:
      path: Folder to be replaced; it need not exist.
      marker: Name of a file that every folder of this kind has.
      alternative: What the user should give instead, for the message.

    Raises:
      UserError: `path` is not a folder, holds a file not listed in its checksums, or is the current
        folder. The message names such a file.
    """
    if path.resolve() == Path.cwd():
        raise UserError(
            f"{path}: it is the current folder, which cannot be replaced. Fix: give {alternative}."
        )
    if path.is_dir():
        names = {file.name for file in path.iterdir()}
        written = read_checksums(path).keys() if {SUMS, marker} <= names else set()
        foreign = sorted(names - {*written, SUMS})
    else:
        foreign = [path.name] if path.exists() else []
    if foreign:
        raise UserError(
            f"{path}: it holds a file that this command did not write ({foreign[0]}). Fix: "
            f"give {alternative}."
        )


def read_checksums(folder: Path, remedy: str = "") -> dict[str, str]:
    """Return the SHA-256 that was recorded for each file of a finished folder.

    Args:
      folder: Folder written by `atomic_folder`.
      remedy: What to do about a damaged folder. The default is the advice for a prepared set.

    Returns:
      File name -> SHA-256.

    Raises:
      UserError: The list of checksums is damaged or missing.
    """
    file = folder / SUMS
    try:
        lines = [_LINE.fullmatch(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise damaged_file_error(file, "it is missing or cannot be read", remedy) from error
    if not all(lines):
        raise damaged_file_error(file, "it is not a list of checksums", remedy)
    return {line[2]: line[1] for line in lines if line}


def verify_checksum(file: Path, digest: str, remedy: str = "") -> None:
    """Raise UserError if a file differs from its checksum.

    Args:
      file: File of a folder written by `atomic_folder`.
      digest: SHA-256 of the file from `read_checksums`.
      remedy: What to do about a damaged file; by default that for a prepared set.

    Raises:
      UserError: The checksums differ, or the file is missing.
    """
    try:
        actual = _sha256(file)
    except OSError as error:
        raise damaged_file_error(file, "it is missing or cannot be read", remedy) from error
    if actual != digest:
        raise damaged_file_error(
            file, f"its content does not match {SUMS} in the same folder", remedy
        )


def damaged_file_error(file: Path, reason: str, remedy: str = "") -> UserError:
    """Return the error for a damaged or missing file of a finished folder."""
    default = (
        f"remove the folder {file.parent} and run python -m data_prep again with the same "
        "configuration (cached clips are reused), or copy the folder again from an undamaged copy"
    )
    return UserError(f"{file}: damaged: {reason}.\nFix: {remedy or default}.")


@contextlib.contextmanager
def lock(
    folder: Path,
    alternative: str = "another --workdir",
    print_line: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold an exclusive lock on a folder until the block or the process ends.

    The system releases the lock however the process ends; the lock file stays.

    Args:
      folder: Folder to lock; created if missing.
      alternative: What the user may give instead, for the message.
      print_line: Prints a line for the user before waiting for another process. By default, the
        lock of another process is an error.

    Raises:
      UserError: Another process holds the lock, or the folder cannot be locked.
    """
    file_lock = filelock.FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            file_lock.acquire(blocking=False)
        except filelock.Timeout as error:
            if print_line is None:
                raise UserError(
                    f"{folder}: another process is using this folder. Fix: wait for it, stop "
                    f"it, or give {alternative}."
                ) from error
            print_line(f"Waiting: another process is using {folder}.")
            file_lock.acquire()
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be locked ({error.strerror or error}). Fix: give {alternative}."
        ) from error
    try:
        yield
    finally:
        file_lock.release()


def _write_checksums(folder: Path) -> None:
    files = [file for file in sorted(folder.iterdir()) if file.name != SUMS]
    lines = [f"{_sha256(file)}  {file.name}\n" for file in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
