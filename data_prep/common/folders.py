"""Folders that appear whole or not at all, with digests of their files, and no leftovers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from data_prep.common.errors import UserError

try:
    import fcntl
except ImportError:  # Windows, which has no ArrayRecord either
    fcntl = None

INCOMPLETE = "incomplete."  # begins the name of a folder that is being written
SUMS = "SHA256SUMS"  # read by `sha256sum --check` as well
_LINE = re.compile(r"([0-9a-f]{64})  ([\w.-]+)")


@contextlib.contextmanager
def atomic_folder(path: Path, replace: bool = False) -> Iterator[Path]:
    """Give a folder to write into, which becomes `path` when the block ends without an error.

    The digests of its files are then in it, for `check`. A process that is killed leaves a folder
    beside `path` whose name begins with `INCOMPLETE`.

    Args:
      path: of the folder.
      replace: whether it takes the place of what lies there.

    Raises:
      OSError: when the block is through and something lies at `path` already.
    """
    unfinished = path.parent / f"{INCOMPLETE}{uuid.uuid4().hex[:8]}_{path.name}"
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        finish(unfinished, path, replace)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def finish(unfinished: Path, path: Path, replace: bool = False) -> None:
    """Give a folder that is all written its name, with the digests of its files.

    Args:
      unfinished: the folder.
      path: its name to be.
      replace: whether it takes the place of what lies there, which goes only when it is whole.

    Raises:
      OSError: something lies at `path` already.
    """
    _write_checksums(unfinished)
    aside = path.parent / f"{INCOMPLETE}{uuid.uuid4().hex[:8]}_{path.name}"
    if replace and path.exists():
        path.rename(aside)
    unfinished.rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def check_replaceable(path: Path, marker: str, alternative: str = "another --out=clip/") -> None:
    """Refuse to replace a folder with anything in it that was not written with `whole`.

    Args:
      path: need not exist.
      marker: the name of a file that each folder of this kind has.
      alternative: what the user is to give instead.

    Raises:
      UserError: names what is strange there; or the folder is the present one.
    """
    if path.resolve() == Path.cwd():
        raise UserError(
            f"{path} is the folder that the command is run in, which cannot be replaced. Fix: "
            f"give {alternative}."
        )
    if path.is_dir():
        found = {file.name for file in path.iterdir()}
        written = read_checksums(path).keys() if {SUMS, marker} <= found else set()
        strange = sorted(found - {*written, SUMS})
    else:
        strange = [path.name] if path.exists() else []
    if strange:
        raise UserError(
            f"{path} holds what this command did not write ({strange[0]}); it is left alone. "
            f"Fix: give {alternative}."
        )


def read_checksums(folder: Path, remedy: str = "") -> dict[str, str]:
    """Name of each file -> its SHA-256 when it was written.

    Args:
      folder: that `whole` has written.
      remedy: against a damaged one, as for `check`.

    Raises:
      UserError: the list of digests is damaged or not there.
    """
    file = folder / SUMS
    try:
        lines = [_LINE.fullmatch(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise damaged_file_error(file, "it is not there or cannot be read", remedy) from error
    if not all(lines):
        raise damaged_file_error(file, "not a list of digests", remedy)
    return {line[2]: line[1] for line in lines if line}


def verify_checksum(file: Path, digest: str, remedy: str = "") -> None:
    """Compare a file with the digest that it had when it was written.

    Args:
      file: of a folder that `whole` has written.
      digest: of `sums`.
      remedy: by default that of a prepared set.

    Raises:
      UserError: they differ, or the file is not there.
    """
    try:
        found = _sha256(file)
    except OSError as error:
        raise damaged_file_error(file, "it is not there or cannot be read", remedy) from error
    if found != digest:
        raise damaged_file_error(
            file, f"its content is not what was written, by {SUMS} beside it", remedy
        )


def damaged_file_error(file: Path, reason: str, remedy: str = "") -> UserError:
    """The error for a file of a finished folder that is not what was written."""
    prepare = (
        f"remove the folder {file.parent} and run python -m data_prep again with the same "
        "configuration (clips that are in the cache are taken from there), or copy the folder "
        "again from where it is whole"
    )
    return UserError(f"{file}: damaged: {reason}.\nFix: {remedy or prepare}.")


@contextlib.contextmanager
def claim(folder: Path, sweep: Callable[[], None]) -> Iterator[None]:
    """Claim a folder, beside others who may do so too, until the block or the process ends.

    The system gives a claim back however its process ends, so that what lies about while nobody
    else holds one is a leftover.

    Args:
      folder: is made when it is not there.
      sweep: removes leftovers; called first, and only when nobody else has a claim. Never called on
        a file system without locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        if handle is not None and fcntl:
            if _try_flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
                sweep()
            _try_flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        if handle is not None:
            os.close(handle)


@contextlib.contextmanager
def lock(folder: Path, alternative: str = "another --workdir") -> Iterator[None]:
    """Keep others out of a folder until the block or the process ends, however that ends.

    A file system without locks keeps nobody out.

    Args:
      folder: that is there.
      alternative: what the user may give instead.

    Raises:
      UserError: another process is at work in it.
    """
    handle = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        if handle is not None and fcntl:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"{folder}: another process is at work in this folder. Fix: wait for it, "
                    f"stop it, or give {alternative}."
                ) from error
            except OSError:  # no locks here
                pass
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _try_flock(handle: int, kind: int) -> bool:
    assert fcntl
    try:
        fcntl.flock(handle, kind)
    except OSError:  # held by another process, or no locks here
        return False
    return True


def _write_checksums(folder: Path) -> None:
    files = [file for file in sorted(folder.iterdir()) if file.name != SUMS]
    lines = [f"{_sha256(file)}  {file.name}\n" for file in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
