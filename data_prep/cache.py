"""Records of single clips on disk, so that an interrupted preparation goes on where it stopped."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.record import Record

_TEXT = "record"  # the member that holds all that is not an array, as JSON


def read(path: Path) -> Record | None:
    """The record at `path`; None when there is none or it cannot be read (it is made anew then)."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        rest = json.loads(arrays.pop(_TEXT).item())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return arrays | rest


def write(path: Path, record: Record) -> None:
    """Store a record whole or not at all."""
    members: dict[str, Any] = {
        name: value for name, value in record.items() if isinstance(value, np.ndarray)
    }
    rest = {name: value for name, value in record.items() if name not in members}
    members[_TEXT] = np.array(json.dumps(rest))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            np.savez(file, **members)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
