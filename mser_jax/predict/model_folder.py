"""The folder of a trained model: what is in it, how it is written, and what is refused.

  model.json            what the model is: classes, rule, configuration, recipe, figures
  weights.safetensors   the weights
  program.stablehlo     the network as a program that needs jax alone (`serving.program`)
  README.md             the model card
  SHA256SUMS            digests of these files

JSON, arrays and StableHLO: nothing in it is executed as Python when it is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.common import fields, folders
from data_prep.common.errors import UserError
from data_prep.stages import identity

FORMAT = 1  # raise it when an older program would misread the folder
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
_REMEDY = "copy the folder again from where it is whole, or export it anew"


def check_replaceable(path: Path) -> None:
    """Refuse to replace what is not a model's folder.

    Raises:
      UserError: something else lies there.
    """
    folders.check_replaceable(path, MODEL, "the name of another folder")


def read(path: Path) -> dict[str, Any]:
    """The description of the model in a folder, all of whose files are as they were written.

    Args:
      path: of the folder.

    Returns:
      What model.json holds.

    Raises:
      UserError: there is no model, a file was changed, its format is another, or this program
        prepares clips in another way than the one that trained it.
    """
    if not (path / MODEL).is_file():
        raise UserError(
            f"{path}: no exported model ({MODEL} is not there). Fix: python -m mser_jax.export "
            "RUN MODEL"
        )
    described = _read_description(path / MODEL)
    _check_format(path, described)
    _check_description(path / MODEL, described)
    digests = folders.read_checksums(path, _REMEDY)
    for name in FILES:
        folders.verify_checksum(path / name, digests.get(name, ""), _REMEDY)
    _check_recipe(path, described)
    return described


def digest(path: Path) -> str:
    """What stands for the model in a folder that was read."""
    return identity.digest((path / folders.SUMS).read_text(encoding="utf-8"))


def _read_description(file: Path) -> dict[str, Any]:
    try:
        described = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise folders.damaged_file_error(file, f"it is no JSON ({error})", _REMEDY) from error
    if not isinstance(described, dict):
        raise folders.damaged_file_error(file, "it does not describe a model", _REMEDY)
    return described


def _check_description(file: Path, description: Mapping[str, Any]) -> None:
    """Each part is there and of its kind; what is in the configuration, `model.Model` sees."""
    config, rule = description.get("config"), description.get("rule")
    wrong = [name for name, kind in _PARTS.items() if not isinstance(description.get(name), kind)]
    wrong += [name for name in ("calibration", "figures") if name not in description]
    if isinstance(config, dict):
        parts = ("prep", "input", "model", "data", "evaluation")
        wrong += [f"config.{name}" for name in parts if not isinstance(config.get(name), dict)]
    if isinstance(rule, dict) and {*rule} != _RULE:
        wrong.append("rule")
    if wrong:
        raise folders.damaged_file_error(
            file, f"without what it must say: {', '.join(wrong)}", _REMEDY
        )


def _check_format(path: Path, description: Mapping[str, Any]) -> None:
    found = description.get("format")
    if found != FORMAT:
        raise UserError(
            f"{path}: the format of this model is {found!r}, this program reads {FORMAT}. Fix: "
            "export it anew with this version of mser_jax, or load it with the version that "
            f"exported it ({description.get('version', 'not said')})."
        )


def _check_recipe(path: Path, description: Mapping[str, Any]) -> None:
    """The network learned from clips that were made in one way; others it cannot judge."""
    now, then = (
        identity.portable_fingerprint(description["config"]["prep"]),
        description["fingerprint"],
    )
    if now != then:
        changed = [f"{name}: {old}, now {new}" for name, old, new in fields.differences(then, now)]
        raise UserError(
            f"{path}: this version of mser_jax prepares clips in another way than the one that "
            f"trained the model ({'; '.join(changed)}). Fix: load it with mser_jax "
            f"{description.get('version', '')}, or train and export it anew."
        )
