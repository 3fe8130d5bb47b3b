"""Files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_prep.common.errors import UserError


@contextlib.contextmanager
def atomic_file(
    path: Path, suffix: str = "", alternative: str = "another folder"
) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without error.

    After an error or Ctrl-C the temporary file is removed, and a file that was at `path` is still
    there.

    Args:
      path: Output file, in an existing folder.
      suffix: Suffix of the temporary path, for writers that choose the format by it.
      alternative: What the user may choose instead, for the message.

    Raises:
      UserError: The file cannot be written.
    """
    part = path.with_name(f"{path.name}.part{suffix}")
    try:
        with replaced_by(path, part):
            yield part
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error}).\n"
            f"Fix: free disk space or choose {alternative}, then run the same command again."
        ) from error


def write_json(path: Path, values: Any, alternative: str = "another --workdir") -> None:
    """Write values as indented JSON, as `atomic_file` does."""
    with atomic_file(path, alternative=alternative) as part:
        part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def replaced_by(path: Path, part: Path) -> Iterator[None]:
    """Move `part` to `path` when the block ends; after an error, remove it."""
    try:
        yield
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):  # A failure here must not hide the first error.
            part.unlink(missing_ok=True)
