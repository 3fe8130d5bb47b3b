"""Texts and digests that stand for a recipe and for the code of its stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.config import is_images
from data_prep.stages.table import STAGES

Recipe = Mapping[str, Any]


# Raise READ when the readers or `Clip` change, and the others when their code gives other values.
READ, FLOW, RECORD = 4, 2, 3
IMAGE = 1  # of the sources of images


def canonical_json(content: Any) -> str:
    """JSON text that is equal for equal content, whatever the order of its fields."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def digest(*parts: str) -> str:
    """32 hexadecimal digits that stand for a sequence of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def fingerprint_parts(recipe: Recipe) -> tuple[str, ...]:
    """Texts that stand for all that makes a record of a clip: our code, and the recipe."""
    model = () if is_images(recipe) else predictor_stamp(recipe)
    return canonical_json(versions(recipe)), canonical_json(recipe), *model


def versions(recipe: Recipe) -> Mapping[str, int]:
    """Return the version of the code of each stage, and of what goes before and after them."""
    if is_images(recipe):
        return {"image": IMAGE}
    stages = {name: stage.version for name, stage in STAGES.items()}
    return {"read": READ, **stages, "flow": FLOW, "record": RECORD}


def fingerprint(recipe: Recipe) -> str:
    """16 hexadecimal digits that stand for the recipe and our code, on any machine."""
    return digest(*fingerprint_parts(recipe)[:2])[:16]


def predictor_stamp(recipe: Recipe) -> tuple[str, ...]:
    """What stands for the content of `face.model`; nothing where the recipe names no such file."""
    file = Path(recipe["face"]["model"]).expanduser()
    if not file.is_file():
        return ()
    return (f"{file.stat().st_size} {file.stat().st_mtime_ns}",)


def without_predictor(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without the path of a 68-point model, which is of one machine.

    A model's folder that came from elsewhere must not choose a file for dlib to read.
    """
    if "face" not in recipe:
        return dict(recipe)
    return {**recipe, "face": {**recipe["face"], "model": ""}}


def portable_fingerprint(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands for how clips are prepared: the recipe, and each stage's code."""
    shared = without_predictor(recipe)
    return {"recipe": fingerprint(shared), "stages": dict(versions(shared))}
