"""What was made of single clips, on disk, so that a preparation goes on where it stopped.

A file holds named values: arrays, and everything else as JSON.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

UNFINISHED = ".tmp"  # ends the name of a file that is being written
_REST = "rest"  # the member that holds all that is not an array, as JSON


def read(path: Path) -> dict[str, Any] | None:
    """The values at `path`; None when there are none or the file is damaged (make it anew then).

    A tuple comes back as a list.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        rest = json.loads(arrays.pop(_REST).item())
    except FileNotFoundError:
        return None
    except Exception:  # zipfile and NumPy promise no list of what damaged bytes can raise
        return None
    return arrays | rest


def write(path: Path, values: Mapping[str, Any]) -> None:
    """Store values whole or not at all."""
    members: dict[str, Any] = {
        name: value for name, value in values.items() if isinstance(value, np.ndarray)
    }
    rest = {name: value for name, value in values.items() if name not in members}
    members[_REST] = np.array(json.dumps(rest, default=np.generic.item))
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the number of the process: two containers that share the folder may have the same.
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")
    try:
        with unfinished.open("wb") as file:
            np.savez(file, **members)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half written; only while no other process writes there."""
    for unfinished in folder.rglob(f"*{UNFINISHED}"):
        unfinished.unlink(missing_ok=True)
