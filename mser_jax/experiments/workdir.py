"""The folder of a run: where it lies, what it is called, and whose it is."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_prep.common import fields
from data_prep.common.errors import UserError
from mser_jax.config import defaults as configs

# Where things are, how many processes or devices help, what is kept or reported, which head
# answers: none changes what is trained. 'parallel' is a whole section.
_IGNORED_FIELDS = (
    "data.manual_dir",
    "data.landmarks_dir",
    "data.data_dir",
    "data.workers",
    "data.cache",
    "data.preview",
    "train.checkpoint_every",
    "train.checkpoints_kept",
    "evaluation.select",
    "parallel",
    "report.inflated",
    "report.faces",
    "ablation.members",  # each has a folder of its own within this one
    "suite.models",
)

# What a run leaves once something is trained, in its folder or in that of an ablation's member.
# The folder of a checkpoint is a number; while it is written its name ends otherwise.
_TRAINING_OUTPUTS = (
    "predictions.csv",
    "final.json",
    "checkpoints/*[0-9]/_CHECKPOINT_METADATA",
    "checkpoints/round-*/*[0-9]/_CHECKPOINT_METADATA",
)


def open_workdir(config: ConfigDict, workdir: str) -> Path:
    """Make the folder, or find it made by a run of the same configuration.

    That of a run which trained nothing yet, as after a mistake in its command, is taken over.

    Args:
      config: of the run; it is kept there as config.json.
      workdir: its path, or '' for `default`.

    Returns:
      The folder.

    Raises:
      UserError: it cannot be written, or belongs to a run with other settings (they are listed).
    """
    folder = Path(workdir) if workdir else default_workdir(config)
    stored = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if stored.is_file():
            _check_same_settings(stored, config)
        text = json.dumps(config.to_dict(), indent=2) + "\n"
        if not (stored.is_file() and stored.read_text(encoding="utf-8") == text):
            part = folder / "config.json.part"  # so that a power cut leaves the old or the new one
            part.write_text(text, encoding="utf-8")
            part.replace(stored)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be written: {error.strerror}. Fix: give another --workdir."
        ) from error
    return folder


def read_config(folder: Path) -> ConfigDict:
    """The configuration of the run in a folder, for whoever has no other.

    Raises:
      UserError: no run is there.
    """
    stored = folder / "config.json"
    if not stored.is_file():
        raise UserError(f"{folder}: no run is there ({stored.name} is absent). Correct the path.")
    config = ConfigDict(_read_json(stored))
    config.update_from_flattened_dict(_stored_settings(stored, config))
    return config


def default_workdir(config: ConfigDict) -> Path:
    """`runs/<name>-<preset>`, with a digest of the other changed fields: a folder of its own."""
    preset = configs.get_config(config.data.dataset, config.preset)
    changed = differences(preset.to_dict() | {"name": config.name}, config.to_dict())
    digest = hashlib.sha256(json.dumps(changed).encode()).hexdigest()[:8]
    suffix = f"-{digest}" if changed else ""
    return Path("runs") / f"{config.name}-{config.preset}{suffix}"


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """(field, value in the first, in the second) of the fields that change what is trained."""
    return [
        (field, old, new)
        for field, old, new in fields.differences(first, second)
        if field not in _IGNORED_FIELDS and field.partition(".")[0] not in _IGNORED_FIELDS
    ]


def _check_same_settings(config_path: Path, config: ConfigDict) -> None:
    """Refuse the folder of a run that trained with other settings, and what is no run's at all."""
    changed = differences(_stored_settings(config_path, config), config.to_dict())
    if changed and _is_trained(config_path.parent):
        lines = [f"  {field}: the run has {old}, now {new}" for field, old, new in changed]
        raise UserError(
            f"{config_path.parent} holds a run with other settings:\n"
            + "\n".join(lines)
            + "\nFix: give another --workdir, or set these fields as they were."
        )


def _stored_settings(config_path: Path, config: ConfigDict) -> dict[str, Any]:
    """The run's own settings.

    It may be older than a field. A new field stands in the paper preset with what the program did
    before it, so that is what the run has, whatever the other presets make of the field.
    """
    before = _read_json(config_path)
    defaults = configs.legacy_defaults(config).to_dict()
    return fields.flatten(fields.json_roundtrip(defaults)) | fields.flatten(before)


def _read_json(config_path: Path) -> dict[str, Any]:
    try:
        read = json.loads(config_path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text
        raise UserError(_unreadable_message(config_path, str(error))) from error
    if not isinstance(read, dict) or "preset" not in read:
        raise UserError(_unreadable_message(config_path, "it is not the configuration of a run"))
    return read


def _unreadable_message(config_path: Path, reason: str) -> str:
    return (
        f"{config_path} cannot be read: {reason}. Fix: give another --workdir, or remove the file if "
        "this is the folder's own configuration."
    )


def _is_trained(folder: Path) -> bool:
    return any(
        any(folder.glob(prefix + result)) for prefix in ("", "*/") for result in _TRAINING_OUTPUTS
    )
