"""Texts and digests that identify a recipe and the code of its stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.config import is_images
from data_prep.stages.table import STAGES

Recipe = Mapping[str, Any]


# Increase READ when the readers or `Clip` change, the others when their code gives other values.
READ, FLOW, RECORD = 4, 2, 3
IMAGE = 1  # Version of the code of the image sources.


def canonical_json(content: Any) -> str:
    """Return JSON text that does not depend on the order of fields."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def digest(*parts: str) -> str:
    """Return 32 hexadecimal digits that identify a sequence of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def fingerprint_parts(recipe: Recipe) -> tuple[str, ...]:
    """Return texts that identify the code and the recipe that make a record.

    The last one stands for the file of the 68-point model, if the recipe names one.
    """
    model = () if is_images(recipe) else predictor_stamp(recipe)
    return canonical_json(versions(recipe)), canonical_json(recipe), *model


def versions(recipe: Recipe) -> Mapping[str, int]:
    """Return the code version of each stage, and of the steps before and after."""
    if is_images(recipe):
        return {"image": IMAGE}
    stages = {name: stage.version for name, stage in STAGES.items()}
    return {"read": READ, **stages, "flow": FLOW, "record": RECORD}


def fingerprint(recipe: Recipe) -> str:
    """Return 16 hexadecimal digits that identify the recipe and the code.

    They are the same on every machine.
    """
    return digest(*fingerprint_parts(recipe)[:2])[:16]


def predictor_stamp(recipe: Recipe) -> tuple[str, ...]:
    """Return the size and time of the file `face.model` as one text.

    Returns:
      A tuple with the text; () if the recipe names no existing file.
    """
    file = Path(recipe["face"]["model"]).expanduser()
    if not file.is_file():
        return ()
    return (f"{file.stat().st_size} {file.stat().st_mtime_ns}",)


def without_predictor(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the recipe without the path of a 68-point model.

    The path belongs to one machine, and a model's folder from elsewhere must not choose a file for
    dlib to read.
    """
    if "face" not in recipe:
        return dict(recipe)
    return {**recipe, "face": {**recipe["face"], "model": ""}}


def portable_fingerprint(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies how clips are prepared, on any machine.

    Returns:
      'recipe': the fingerprint of the recipe; 'stages': the code version of each stage.
    """
    shared = without_predictor(recipe)
    return {"recipe": fingerprint(shared), "stages": dict(versions(shared))}
