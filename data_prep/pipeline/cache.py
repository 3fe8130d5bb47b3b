"""The cache of single clips on disk, from which an interrupted preparation continues.

A file holds named values: arrays, and everything else as JSON.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.common import files

_ABANDONED_SECONDS = 3600  # Age of an unfinished file that nobody writes any more.
UNFINISHED = ".tmp"  # Suffix of a file that is being written.
_REST = "rest"  # Name of the member that holds everything but the arrays, as JSON.


def read(path: Path) -> dict[str, Any] | None:
    """Return the values stored at `path`, or None if the file is missing or damaged.

    Tuples come back as lists.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        rest = json.loads(arrays.pop(_REST).item())
    except FileNotFoundError:
        return None
    except Exception:  # zipfile and NumPy do not document all that damaged bytes can raise.
        return None
    return arrays | rest


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Store values in a file that appears complete or not at all."""
    members: dict[str, Any] = {
        name: value for name, value in values.items() if isinstance(value, np.ndarray)
    }
    rest = {name: value for name, value in values.items() if name not in members}
    members[_REST] = np.array(json.dumps(rest, default=np.generic.item))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the process id: two containers that share the folder may have the same one.
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")
    with files.replaced_by(path, unfinished), unfinished.open("wb") as file:
        np.savez(file, **members)


def sweep(folder: Path) -> None:
    """Remove the unfinished files of killed processes.

    A file that has not changed for an hour is not being written any more.
    """
    for unfinished in folder.rglob(f"*{UNFINISHED}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - unfinished.stat().st_mtime > _ABANDONED_SECONDS:
                unfinished.unlink()
