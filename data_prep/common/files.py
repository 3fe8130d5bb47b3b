"""Files that appear complete or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from data_prep.common.errors import UserError


@contextlib.contextmanager
def atomic_file(path: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends without error.

    After an error or Ctrl-C the temporary file is removed, and a file that was at `path` is still
    there.

    Args:
      path: Output file, in an existing folder.
      suffix: Suffix of the temporary path, for writers that choose the format by it.

    Raises:
      UserError: The file cannot be written.
    """
    part = path.with_name(f"{path.name}.part{suffix}")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error}).\n"
            "Fix: free disk space or choose another folder, then run the same command again."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # A failure here must not hide the first error.
            part.unlink(missing_ok=True)
