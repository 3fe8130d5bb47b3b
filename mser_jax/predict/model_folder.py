"""The folder of a trained model: its files, their format, and the checks when it is read.

  model.json            description: classes, rule, configuration, recipe, scores
  weights.safetensors   weights
  program.stablehlo     network as a program that needs jax alone (`serving.export_stablehlo`)
  README.md             model card
  SHA256SUMS            checksums of these files

The files are JSON, arrays and StableHLO. Loading them executes no Python code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.common import fields, folders
from data_prep.common.errors import UserError
from data_prep.stages import identity

FORMAT = 1  # Raise it when an older version would misread the folder.
MODEL, WEIGHTS, PROGRAM, CARD = (
    "model.json",
    "weights.safetensors",
    "program.stablehlo",
    "README.md",
)
FILES = (MODEL, WEIGHTS, PROGRAM, CARD)
_PARTS = {
    **dict.fromkeys(("name", "version"), str),
    **dict.fromkeys(("class_names", "pixels"), list),
    **dict.fromkeys(("rule", "fingerprint", "training", "config"), dict),
}
_RULE = {"name", "best", "temperature"}
_REMEDY = "copy the folder again from an intact copy, or export it again"


def check_replaceable(path: Path) -> None:
    """Raise UserError if a path holds anything but a model folder."""
    folders.check_replaceable(path, MODEL, "the name of another folder")


def read(path: Path) -> dict[str, Any]:
    """Read the description of a model and verify all files of its folder.

    Args:
      path: Folder of the model.

    Returns:
      Content of model.json.

    Raises:
      UserError: There is no model, a file was changed, the format is another one, or this version
        prepares clips differently from the version that trained the model.
    """
    if not (path / MODEL).is_file():
        raise UserError(
            f"{path}: no exported model ({MODEL} is missing). Fix: run python -m mser_jax.export "
            "RUN MODEL."
        )
    description = _read_description(path / MODEL)
    _check_format(path, description)
    _check_description(path / MODEL, description)
    digests = folders.read_checksums(path, _REMEDY)
    for name in FILES:
        folders.verify_checksum(path / name, digests.get(name, ""), _REMEDY)
    _check_recipe(path, description)
    return description


def digest(path: Path) -> str:
    """Return a digest that identifies the model in a folder."""
    return identity.digest((path / folders.SUMS).read_text(encoding="utf-8"))


def _read_description(file: Path) -> dict[str, Any]:
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise folders.damaged_file_error(file, f"it is not JSON ({error})", _REMEDY) from error
    if not isinstance(description, dict):
        raise folders.damaged_file_error(file, "it does not describe a model", _REMEDY)
    return description


def _check_description(file: Path, description: Mapping[str, Any]) -> None:
    """Check the parts and their types. `model.Model` checks the configuration."""
    config, rule = description.get("config"), description.get("rule")
    wrong = [name for name, kind in _PARTS.items() if not isinstance(description.get(name), kind)]
    wrong += [name for name in ("calibration", "figures") if name not in description]
    if isinstance(config, dict):
        parts = ("prep", "input", "model", "data", "evaluation")
        wrong += [f"config.{name}" for name in parts if not isinstance(config.get(name), dict)]
    if isinstance(rule, dict) and {*rule} != _RULE:
        wrong.append("rule")
    if wrong:
        raise folders.damaged_file_error(file, f"missing or wrong: {', '.join(wrong)}", _REMEDY)


def _check_format(path: Path, description: Mapping[str, Any]) -> None:
    file_format = description.get("format")
    if file_format != FORMAT:
        raise UserError(
            f"{path}: the format of this model is {file_format!r}, but this version reads "
            f"{FORMAT}. Fix: export it again with this version of mser_jax, or load it with the "
            f"version that exported it ({description.get('version', 'not recorded')})."
        )


def _check_recipe(path: Path, description: Mapping[str, Any]) -> None:
    """Check that this version prepares clips as the training's were prepared."""
    current, trained = (
        identity.portable_fingerprint(description["config"]["prep"]),
        description["fingerprint"],
    )
    if current != trained:
        changed = [
            f"{name}: {old}, now {new}" for name, old, new in fields.differences(trained, current)
        ]
        raise UserError(
            f"{path}: this version of mser_jax prepares clips differently from the version that "
            f"trained the model ({'; '.join(changed)}). Fix: load it with mser_jax "
            f"{description.get('version', '')}, or train and export it again."
        )
