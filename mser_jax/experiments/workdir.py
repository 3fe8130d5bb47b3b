"""The folder of a run: its place, its name, and the settings it belongs to."""

import hashlib
import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_prep import class_map
from data_prep.common import fields, files
from data_prep.common.errors import UserError
from mser_jax.config import defaults as configs

# Fields that do not change what is trained: paths, processes and devices, what is saved or
# reported, and which head answers. 'parallel' is a section: all of its fields are ignored.
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
    "ablation.members",  # each member has its own folder in this one
    "suite.models",
)

# Files that show that a run has trained, in its folder or in that of an ablation's member. The
# folder of a checkpoint is a number; its name has a suffix until the checkpoint is complete.
_TRAINING_OUTPUTS = (
    "predictions.csv",
    "final.json",
    "checkpoints/*[0-9]/_CHECKPOINT_METADATA",
    "checkpoints/round-*/*[0-9]/_CHECKPOINT_METADATA",
)


def open_workdir(config: ConfigDict, workdir: str) -> Path:
    """Create a run's folder, or reuse the folder of a run with equal settings.

    The folder of a run that has trained nothing yet, as after a mistake in its command, is taken
    over.

    Args:
      config: Configuration of the run; it is saved in the folder as config.json.
      workdir: Path of the folder, or '' for `default_workdir`.

    Returns:
      The folder.

    Raises:
      UserError: The folder cannot be written, or belongs to a run with other settings; the message
        lists them.
    """
    folder = Path(workdir) if workdir else default_workdir(config)
    stored = folder / "config.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if stored.is_file():
            _check_same_settings(stored, config)
        text = json.dumps(config.to_dict(), indent=2) + "\n"
        if not (stored.is_file() and stored.read_text(encoding="utf-8") == text):
            with files.atomic_file(stored, alternative="another --workdir") as part:
                part.write_text(text, encoding="utf-8")
        if class_map.is_own(config.data.classes):
            text = class_map.read(config.data.classes).to_toml()
            (folder / class_map.FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written ({error.strerror}). Fix: give another --workdir."
        ) from error
    return folder


def restore_class_map(config: ConfigDict, workdir: str) -> None:
    """Use the copy of a class map in a run's folder if the file itself is gone.

    Args:
      config: Configuration of the run; `data.classes` becomes the path of the copy.
      workdir: Path of the folder, or ''. Without it the folder is not known: its name depends on
        the content of the file.
    """
    value = config.data.classes
    copy = Path(workdir) / class_map.FILE
    if not (workdir and class_map.is_file(value) and copy.is_file()):
        return
    if not Path(value).expanduser().is_file():
        print(f"{value}: no such file. The copy in the folder of the run is used: {copy}")
        config.data.classes = str(copy)


def read_config(folder: Path) -> ConfigDict:
    """Read the configuration of the run in a folder.

    For callers that have no other configuration.

    Args:
      folder: Folder of a run.

    Raises:
      UserError: The folder has no run.
    """
    stored = folder / "config.json"
    if not stored.is_file():
        raise UserError(f"{folder}: no run here ({stored.name} is missing). Fix: correct the path.")
    config = ConfigDict(_read_json(stored))
    config.update_from_flattened_dict(_stored_settings(stored, config))
    return config


def default_workdir(config: ConfigDict) -> Path:
    """Return `runs/<name>-<preset>`, with a digest of further changed fields.

    Each configuration gets its own folder this way.
    """
    preset = configs.get_config(config.data.dataset, config.preset)
    changed = differences(preset.to_dict() | {"name": config.name}, config.to_dict())
    digest = hashlib.sha256(json.dumps(changed).encode()).hexdigest()[:8]
    suffix = f"-{digest}" if changed else ""
    return Path("runs") / f"{config.name}-{config.preset}{suffix}"


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return the fields that differ and change what is trained.

    Args:
      first: Configuration.
      second: Configuration to compare with it.

    Returns:
      (field, value in the first, value in the second) of each field.
    """
    return [
        (field, old, new)
        for field, old, new in fields.differences(first, second)
        if field not in _IGNORED_FIELDS and field.partition(".")[0] not in _IGNORED_FIELDS
    ]


def _check_same_settings(config_path: Path, config: ConfigDict) -> None:
    """Raise UserError if the folder's run has trained with other settings.

    It is also raised if config.json is not the configuration of a run.
    """
    changed = differences(_stored_settings(config_path, config), config.to_dict())
    if changed and _is_trained(config_path.parent):
        lines = [f"  {field}: the run has {old}, now {new}" for field, old, new in changed]
        raise UserError(
            f"{config_path.parent}: the folder has a run with other settings:\n"
            + "\n".join(lines)
            + "\nFix: give another --workdir, or set these fields to the values of the run."
        )


def _stored_settings(config_path: Path, config: ConfigDict) -> dict[str, Any]:
    """Return the run's own settings, with defaults for fields newer than the run.

    The default of a new field in the paper preset is what the program did before the field existed,
    so an older run has that value, whatever the other presets set.
    """
    stored = _read_json(config_path)
    defaults = configs.legacy_defaults(config).to_dict()
    return fields.flatten(fields.json_roundtrip(defaults)) | fields.flatten(stored)


def _read_json(config_path: Path) -> dict[str, Any]:
    try:
        content = json.loads(config_path.read_text(encoding="utf-8"))
    except ValueError as error:  # not JSON, or not text
        raise UserError(_unreadable_message(config_path, str(error))) from error
    if not isinstance(content, dict) or "preset" not in content:
        raise UserError(_unreadable_message(config_path, "not the configuration of a run"))
    return content


def _unreadable_message(config_path: Path, reason: str) -> str:
    return (
        f"{config_path}: cannot be read ({reason}). Fix: give another --workdir, or, if the folder "
        "is that of a run, remove the file."
    )


def _is_trained(folder: Path) -> bool:
    return any(
        any(folder.glob(prefix + pattern)) for prefix in ("", "*/") for pattern in _TRAINING_OUTPUTS
    )
