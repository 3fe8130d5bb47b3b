"""The command that exports a trained model: `python -m mser_jax.export RUN MODEL`.

RUN is the folder of a run after `--mode=final`. MODEL is the folder to write
(`predict.model_folder`).
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from data_prep.common import command, folders
from data_prep.common.errors import UserError
from data_prep.config import margin
from data_prep.stages import identity
from mser_jax import __version__
from mser_jax.evaluate import calibration, predictions_csv, scoring, selection
from mser_jax.experiments import workdir
from mser_jax.predict import model_card, model_folder
from mser_jax.storage.log import Log
from mser_jax.train import final

_PATH_FIELDS = ("manual_dir", "data_dir", "landmarks_dir", "parts", "sheet")
_FILE_FLAGS = ("config", "config.data.classes")  # Flags that name a file; its folder is dropped.
# Scores of single subjects and clips are left out: they stay in the run's folder.
_EXPORTED_SCORES = (
    *("rule", "clips", "tested", "subjects", "folds", "seeds", "trainings", "class_names"),
    *("accuracy", "uf1", "uar", "f1_macro", "f1_weighted", "f1_micro", "interval", "seed_std"),
    *("majority", "chance", "confusion", "per_class", "per_dataset"),
)


def export(run: Path, out: Path) -> dict[str, Any]:
    """Write a model folder from a run.

    Args:
      run: Folder of a run with a final training. For held-out scores and a calibrated confidence
        it also needs the report of its folds.
      out: Folder to write. An existing model folder is replaced.

    Returns:
      Description of the model, as stored in model.json.

    Raises:
      UserError: The run has no final training, its folds used other clips, or the folder cannot
        be written.
    """
    if not run.is_dir():
        raise UserError(f"{run}: no such run. Fix: correct the path.")
    model_folder.check_replaceable(out)
    facts = final.read_facts(run)
    config = workdir.read_config(run)
    _check_recipe(run, config, facts)
    description = _describe(config, facts, _held_out_scores(run, config, facts))
    target = out.resolve()  # A symbolic link to a folder stays a link.
    try:
        with folders.atomic_folder(target, replace=True) as folder:
            _write(folder, run, description)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror or error}). Fix: free disk space, or give "
            "another folder."
        ) from error
    return description


def _held_out_scores(run: Path, config: ConfigDict, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return held-out scores and the fitted temperature, or {} without predictions."""
    path, rule = run / "predictions.csv", config.evaluation.select
    if rule == selection.UPPER_BOUND:
        raise UserError(
            f"{run}: the rule {rule!r} reads the label of the clip it classifies, and a new video "
            "has no label. Fix: run --mode=report --config.evaluation.select=confidence."
        )
    if not path.is_file():
        return {}
    _check_same_clips(run, facts)
    predictions = predictions_csv.read_csv(path)
    if list(predictions.class_names) != facts["class_names"]:
        raise UserError(
            f"{path}: its classes are {', '.join(predictions.class_names)}, but the final training "
            f"used {', '.join(facts['class_names'])}. Fix: train both again in one new "
            "--workdir."
        )
    scores = scoring.score(predictions, rule)
    return {
        "figures": {name: scores[name] for name in _EXPORTED_SCORES},
        "calibration": calibration.fit_temperature(predictions, rule).to_dict(),
    }


def _check_same_clips(run: Path, facts: Mapping[str, Any]) -> None:
    """Check that the folds and the final training used the same clips."""
    digests = [event.get("digest") for event in Log(run / "log.jsonl").read() if "clips" in event]
    if digests and digests[-1] not in (None, facts["digest"]):
        raise UserError(
            f"{run}: its folds and its final training used different clips. Fix: repeat the "
            "command of the run in another --workdir, first without --mode, then with "
            "--mode=final."
        )


def _check_recipe(run: Path, config: ConfigDict, facts: Mapping[str, Any]) -> None:
    """Check that this version prepares clips as the training's were prepared."""
    current = identity.portable_fingerprint(config.prep.to_dict())
    if facts["fingerprint"] != current:
        raise UserError(
            f"{run}: this version of mser_jax prepares clips differently from the version that "
            "trained the network. Fix: export it with that version "
            f"({facts['versions'].get('mser_jax', 'not recorded')}), or train again in another "
            "--workdir."
        )


def _describe(
    config: ConfigDict, facts: Mapping[str, Any], held_out_scores: Mapping[str, Any]
) -> dict[str, Any]:
    calibrated, losses = held_out_scores.get("calibration"), facts["train_loss"]
    return {
        "format": model_folder.FORMAT,
        "version": __version__,
        "name": config.name,
        "class_names": facts["class_names"],
        "rule": {
            "name": config.evaluation.select,
            "best": losses.index(min(losses)),
            "temperature": calibrated["temperature"] if calibrated else 1.0,
        },
        "calibration": calibrated,
        "figures": held_out_scores.get("figures"),
        "pixels": _pixel_shape(config),
        "fingerprint": facts["fingerprint"],
        "training": {**facts, "command": _command_without_paths(facts["command"])},
        "own_predictor": bool(config.prep.get("face", {}).get("model")),
        "config": _config_without_paths(config),
    }


def _config_without_paths(config: ConfigDict) -> dict[str, Any]:
    """Return the configuration without paths of the machine that trained."""
    fields = config.to_dict()
    data = {name: "" if name in _PATH_FIELDS else value for name, value in fields["data"].items()}
    return {**fields, "data": data, "prep": identity.without_predictor(fields["prep"])}


def _command_without_paths(line: str) -> str:
    """Return a command line without the flags that hold paths of one machine."""
    flags = {"workdir", "config.prep.face.model", *(f"config.data.{name}" for name in _PATH_FIELDS)}
    words, kept_words = iter(shlex.split(line)), []
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        is_path = word.startswith("-") and (name in flags or name.startswith("config.data.parts."))
        if not word.startswith("-") or not (is_path or name in _FILE_FLAGS):
            kept_words.append(word)
            continue
        value = value if equals else next(words, "")
        if name in _FILE_FLAGS:
            kept_words.append(
                f"--{name}={Path(value).name if Path(value).is_absolute() else value}"
            )
    return shlex.join(kept_words)


def _pixel_shape(config: ConfigDict) -> list[int]:
    """Return the shape of the exported program's input for a clip, `[t, s, s, d]`."""
    side, depth = config.prep.size, {"flow": 2, "frames": 1, "images": 3}[config.input.kind]
    side += 0 if config.input.kind == "images" else 2 * margin(side)
    return [config.prep.steps, side, side, depth]


def _write(folder: Path, run: Path, description: Mapping[str, Any]) -> None:
    from mser_jax.predict import (
        model as trained,
    )  # Imports JAX, so errors above are reported without that wait.

    weights = folder / model_folder.WEIGHTS
    shutil.copyfile(run / final.FOLDER / final.WEIGHTS_FILE, weights)
    model = trained.Model.from_description(description, weights)
    (folder / model_folder.PROGRAM).write_bytes(model.export_stablehlo())
    text = json.dumps(description, indent=2) + "\n"
    (folder / model_folder.MODEL).write_text(text, encoding="utf-8")
    (folder / model_folder.CARD).write_text(model_card.card(description), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m mser_jax.export", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run after --mode=final")
    parser.add_argument("model", type=Path, help="folder to write")
    flags = parser.parse_args(arguments)

    def work() -> None:
        out = command.expand_path(flags.model)
        description = export(command.expand_path(flags.run), out)
        print(_message(out, description))

    return command.run_and_get_status(work)


def _message(out: Path, description: Mapping[str, Any]) -> str:
    figures = description["figures"]
    lines = [f"{out}: {', '.join(model_folder.FILES)}"]
    if figures is None:
        lines.append(
            "Note: the run has no held-out predictions. The model has no figures, and its "
            "confidence is not calibrated.\nFix: run the command of the run without --mode, then "
            "export again."
        )
    else:
        temperature = description["rule"]["temperature"]
        lines.append(
            f"Held-out scores of the folds: UF1 {figures['uf1']:.3f}, UAR {figures['uar']:.3f}; "
            f"temperature {temperature:.2f}."
        )
    lines.append(f"Try it: python -m mser_jax.predict {out} video.mp4")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
