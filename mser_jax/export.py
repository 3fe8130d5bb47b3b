"""The command that makes a model of a run: `python -m mser_jax.export RUN MODEL`.

RUN is the folder of a run after `--mode=final`; MODEL the folder to make (`predict.model_folder`).
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
# Of the scores; whatever is of single subjects or clips stays where the run is.
_EXPORTED_SCORES = (
    *("rule", "clips", "tested", "subjects", "folds", "seeds", "trainings", "class_names"),
    *("accuracy", "uf1", "uar", "f1_macro", "f1_weighted", "f1_micro", "interval", "seed_std"),
    *("majority", "chance", "confusion", "per_class", "per_dataset"),
)


def export(run: Path, out: Path) -> dict[str, Any]:
    """Write the folder of a model.

    Args:
      run: the folder of a run with a final training, and with the report of its folds if the model
        is to have figures and a calibrated confidence.
      out: is made; a model's folder that is there is replaced.

    Returns:
      The description, as model.json holds it.

    Raises:
      UserError: the run has no final training, its folds are of other clips, or the folder cannot
        be written.
    """
    if not run.is_dir():
        raise UserError(f"{run}: there is no such run. Fix: correct the path.")
    model_folder.check_replaceable(out)
    facts = final.read_facts(run)
    config = workdir.read_config(run)
    _check_recipe(run, config, facts)
    described = _describe(config, facts, _held_out_scores(run, config, facts))
    place = out.resolve()  # a link to a folder stays a link
    try:
        with folders.atomic_folder(place, replace=True) as folder:
            _write(folder, run, described)
    except OSError as error:
        raise UserError(
            f"{out} cannot be written: {error.strerror or error}. Fix: make room, or give "
            "another folder."
        ) from error
    return described


def _held_out_scores(run: Path, config: ConfigDict, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The scores of the folds and the temperature of their answers; {} where there are none."""
    path, rule = run / "predictions.csv", config.evaluation.select
    if rule == selection.UPPER_BOUND:
        raise UserError(
            f"{run}: the rule {rule!r} reads the label of the clip that it answers for, which a "
            "new video has not. Fix: --mode=report --config.evaluation.select=confidence."
        )
    if not path.is_file():
        return {}
    _check_same_clips(run, facts)
    predictions = predictions_csv.read_csv(path)
    if list(predictions.class_names) != facts["class_names"]:
        raise UserError(
            f"{path}: its classes are {', '.join(predictions.class_names)}, those of the final "
            f"training {', '.join(facts['class_names'])}. Fix: train both anew, in one "
            "--workdir."
        )
    scores = scoring.score(predictions, rule)
    return {
        "figures": {name: scores[name] for name in _EXPORTED_SCORES},
        "calibration": calibration.fit_temperature(predictions, rule).to_dict(),
    }


def _check_same_clips(run: Path, facts: Mapping[str, Any]) -> None:
    """The figures of the folds belong to the model only if they are of the same clips."""
    seen = [event.get("digest") for event in Log(run / "log.jsonl").read() if "clips" in event]
    if seen and seen[-1] not in (None, facts["digest"]):
        raise UserError(
            f"{run}: its folds and its final training are of different clips. Fix: the command "
            "that made the run once more, without --mode, in another --workdir, then with "
            "--mode=final."
        )


def _check_recipe(run: Path, config: ConfigDict, facts: Mapping[str, Any]) -> None:
    """Weights that learned from clips made in another way are of no use to this program."""
    now = identity.portable_fingerprint(config.prep.to_dict())
    if facts["fingerprint"] != now:
        raise UserError(
            f"{run}: the network was trained on clips that this version of mser_jax makes in "
            "another way. Fix: export it with the version that trained it "
            f"({facts['versions'].get('mser_jax', 'not said')}), or train it anew in another "
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
    """The configuration without the paths of the machine that trained."""
    fields = config.to_dict()
    data = {name: "" if name in _PATH_FIELDS else value for name, value in fields["data"].items()}
    return {**fields, "data": data, "prep": identity.without_predictor(fields["prep"])}


def _command_without_paths(line: str) -> str:
    """A command line without what names places of one machine, however it is written."""
    flags = {"workdir", "config.prep.face.model", *(f"config.data.{name}" for name in _PATH_FIELDS)}
    words, kept = iter(shlex.split(line)), []
    for word in words:
        name, given, value = word.lstrip("-").partition("=")
        place = word.startswith("-") and (name in flags or name.startswith("config.data.parts."))
        if not word.startswith("-") or not (place or name == "config"):
            kept.append(word)
            continue
        value = value if given else next(words, "")
        if name == "config":
            kept.append(f"--config={Path(value).name if Path(value).is_absolute() else value}")
    return shlex.join(kept)


def _pixel_shape(config: ConfigDict) -> list[int]:
    """The shape of what the program is given of a clip: `[t, s, s, d]`."""
    side, depth = config.prep.size, {"flow": 2, "frames": 1, "images": 3}[config.input.kind]
    side += 0 if config.input.kind == "images" else 2 * margin(side)
    return [config.prep.steps, side, side, depth]


def _write(folder: Path, run: Path, description: Mapping[str, Any]) -> None:
    from mser_jax.predict import model as trained  # with JAX, which a mistake above does without

    weights = folder / model_folder.WEIGHTS
    shutil.copyfile(run / final.FOLDER / final.WEIGHTS_FILE, weights)
    model = trained.Model.from_description(description, weights)
    (folder / model_folder.PROGRAM).write_bytes(model.export_stablehlo())
    text = json.dumps(description, indent=2) + "\n"
    (folder / model_folder.MODEL).write_text(text, encoding="utf-8")
    (folder / model_folder.CARD).write_text(model_card.card(description), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Export, and say what there is."""
    parser = argparse.ArgumentParser(prog="python -m mser_jax.export", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, after --mode=final")
    parser.add_argument("model", type=Path, help="folder to make")
    asked = parser.parse_args(arguments)

    def work() -> None:
        out = command.expand_path(asked.model)
        described = export(command.expand_path(asked.run), out)
        print(_message(out, described))

    return command.run_and_get_status(work)


def _message(out: Path, description: Mapping[str, Any]) -> str:
    figures = description["figures"]
    lines = [f"{out}: {', '.join(model_folder.FILES)}"]
    if figures is None:
        lines.append(
            "Note: the run has no held-out predictions. The model has no figures, and its "
            "confidence is not calibrated.\nFix: the run's command without --mode, then export "
            "again."
        )
    else:
        temperature = description["rule"]["temperature"]
        lines.append(
            f"Held out, of the folds: UF1 {figures['uf1']:.3f}, UAR {figures['uar']:.3f}; "
            f"temperature {temperature:.2f}."
        )
    lines.append(f"Try it: python -m mser_jax.predict {out} video.mp4")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
