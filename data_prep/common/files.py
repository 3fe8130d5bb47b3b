"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from data_prep.common.errors import UserError


@contextlib.contextmanager
def atomic_file(path: Path, suffix: str = "") -> Iterator[Path]:
    """Give a path beside `path` to write to, which becomes `path` when the block ends well.

    After an error or Ctrl-C nothing is left of it, and what lay at `path` before lies there still.

    Args:
      path: of the file; its folder is there.
      suffix: that the path must end with, for those who choose the format by it.

    Raises:
      UserError: the file cannot be written.
    """
    part = path.with_name(f"{path.name}.part{suffix}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error}).\n"
            "Fix: make room, or choose another folder; then the same command again."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # the error that matters is already on its way
            part.unlink(missing_ok=True)
