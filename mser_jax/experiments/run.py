"""A run from its configuration to its report; each stage says what it finds done already."""

import contextlib
import json
import os
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from data_prep.common import folders
from data_prep.common.errors import UserError
from data_prep.pipeline.prepare import PreparedSet, prepare
from data_prep.stages import identity
from mser_jax import hosts, parallel
from mser_jax.config import networks, validation
from mser_jax.data import dataset as data
from mser_jax.data import folds as folding
from mser_jax.data.folds import Fold
from mser_jax.evaluate import predictions_csv
from mser_jax.evaluate.predictions import Predictions
from mser_jax.experiments import held_out, setup
from mser_jax.experiments.provenance import provenance
from mser_jax.experiments.workdir import open_workdir
from mser_jax.report.run import clip_pictures
from mser_jax.report.run import page as report
from mser_jax.storage.log import Log
from mser_jax.train import final, planning
from mser_jax.train.engine import Engine

_NBSP = "\N{NO-BREAK SPACE}"  # where a line must not break


class RunInputs(NamedTuple):
    """What training and evaluation start from; `limit` is the bytes of a device."""

    dataset: data.Dataset
    engine: Engine
    limit: int


def run(config: ConfigDict, workdir: str, mode: str) -> None:
    """Prepare, train, evaluate and report, or the part of it that `mode` names.

    Args:
      config: of `mser_jax.config.defaults.get_config`, with the user's changes.
      workdir: where the run keeps what it makes; '' for a folder under runs/.
      mode: 'all', 'train', 'evaluate', 'report' or 'final'.

    Raises:
      UserError: a field, a file or the data cannot be used; nothing is lost.
      KeyboardInterrupt: stopped by the user, after saving.
    """
    began = time.perf_counter()
    validation.validate(config)
    hosts.use_compilation_cache()
    with contextlib.ExitStack() as held:
        with hosts.first_process_first():
            folder = open_workdir(config, workdir)
            if hosts.is_first():
                held.enter_context(folders.lock(folder))
        home = _mode_folder(folder, mode)
        log = Log(home / "log.jsonl" if hosts.is_first() else Path(os.devnull))
        print(f"Run: {home}")
        log.write("start", **provenance(config, mode))
        if mode == "final":
            _train_final(config, home, log)
        elif mode != "report":
            _prepare_and_train(config, folder, log, mode)
        elif hosts.is_first():
            _report(folder, config, log)
    if hosts.is_first():
        print(_format_stage_times(log, time.perf_counter() - began))


def _mode_folder(folder: Path, mode: str) -> Path:
    """Where a mode logs and trains: the final training keeps out of what the folds have left."""
    if mode != "final":
        return folder
    home = folder / final.FOLDER
    home.mkdir(exist_ok=True)
    return home


def _train_final(config: ConfigDict, folder: Path, log: Log) -> None:
    """Train one network on every clip, to be kept."""
    if not networks.is_network(config):
        raise UserError(
            f"{config.model.name} is no network, and there is nothing to keep of it. Fix: a "
            "configuration of a network, as configs/synthetic.py."
        )
    if jax.process_count() > 1:
        raise UserError("--mode=final is one training, for one process. Fix: drop --distributed.")
    with log.stage("prepare clips") as stage:
        prepared = prepare(config)
        stage.reused = prepared.reused
    limit = planning.usable_memory(parallel.fold_mesh())
    dataset = _read_dataset(config, prepared, limit, log)
    folds = [folding.all_clips_fold(len(dataset.clip), config.seed)]
    setup.warn_untrained_classes(dataset, folds)
    trainer = setup.make_trainer(config, dataset, folds)
    loaded = RunInputs(dataset, setup.make_engine(config, dataset, trainer, folder, limit), limit)
    _train(config, loaded, log)
    with log.stage("keep") as stage:
        stage.reused = final.is_saved(folder, loaded.engine)
        if not stage.reused:
            known = {
                **provenance(config, "final"),
                "set": prepared.name,
                "fingerprint": identity.portable_fingerprint(config.prep.to_dict()),
            }
            final.save(
                folder, loaded.engine, np.asarray(dataset.clips.labels), dataset.facts(), known
            )
    print(
        f"\nTrained on all {len(dataset.clip)} clips: {folder / final.WEIGHTS_FILE}\nA model of it: "
        f"python -m mser_jax.export {folder.parent} model/"
    )


def _prepare_and_train(config: ConfigDict, folder: Path, log: Log, mode: str) -> None:
    fitted = not networks.is_network(config)
    if mode == "evaluate" and not (fitted or (folder / "checkpoints").is_dir()):
        raise UserError(f"{folder}: nothing is trained yet. Fix: the same command without --mode.")
    with log.stage("prepare clips") as stage, hosts.first_process_first():
        prepared = prepare(config)
        stage.reused = prepared.reused
    if fitted:
        if hosts.is_first():
            predictions = _fit(config, prepared, folder, log)
            if mode != "train":
                _report(folder, config, log, predictions)
        return
    loaded = _load_inputs(config, prepared, folder, log)
    if mode != "evaluate":
        _train(config, loaded, log)
    if mode == "train":
        return
    predictions = _evaluate(config, loaded, folder, log, force=mode == "evaluate")
    if hosts.is_first():
        _report(folder, config, log, predictions)


def _fit(config: ConfigDict, prepared: PreparedSet, folder: Path, log: Log) -> Predictions:
    """Fit and evaluate a model that is no network; it takes seconds, so nothing is reused."""
    dataset = _read_dataset(config, prepared, planning.usable_memory(parallel.fold_mesh()), log)
    folds = setup.make_folds(config, dataset)
    setup.check_classes(dataset, folds)
    with log.stage("fit"):
        predictions = fit(config, dataset, folds)
        predictions_csv.write_csv(folder / "predictions.csv", predictions, config.evaluation.select)
    return predictions


def fit(
    config: ConfigDict, dataset: data.Dataset, folds: Sequence[Fold], *, show_progress: bool = True
) -> Predictions:
    """The held-out answers of what is no network; `show_progress` shows a bar."""
    from mser_jax.experiments import classical  # with scikit-learn, which a training does without

    settings = config.model.to_dict()
    name = settings.pop("name")
    return classical.predictions(
        name, settings, config.input.channels, dataset, folds, show_progress=show_progress
    )


def _read_dataset(config: ConfigDict, prepared: PreparedSet, limit: int, log: Log) -> data.Dataset:
    with log.stage("read shards"):
        dataset = read_clips(config, prepared, limit)
    log.write(
        "data",
        set=str(prepared.path.resolve()),
        clips=len(dataset.clip),
        digest=dataset.digest,
        dropped=dataset.dropped,
        release=dataset.release,
        repaired=dataset.repaired,
    )
    return dataset


def _load_inputs(config: ConfigDict, prepared: PreparedSet, folder: Path, log: Log) -> RunInputs:
    limit = planning.usable_memory(parallel.fold_mesh())
    dataset = _read_dataset(config, prepared, limit, log)
    trainer = setup.make_trainer(config, dataset)
    setup.check_classes(dataset, trainer.folds)
    engine = setup.make_engine(config, dataset, trainer, folder, limit)
    return RunInputs(dataset, engine, limit)


def read_clips(config: ConfigDict, prepared: PreparedSet, limit: int) -> data.Dataset:
    """The clips of a prepared set, as the configuration wants them.

    Args:
      config: of the run.
      prepared: the set.
      limit: bytes of a device; more than half of it stays on disk, if that is left open.
    """
    where = config.parallel.data if "parallel" in config else "resident"
    return data.load(
        prepared.path,
        config.prep.to_dict(),
        kind=config.input.kind,
        scale=config.input.scale,
        fits_in_memory=lambda size: where == "resident" or (where == "auto" and 2 * size <= limit),
    )


def _train(config: ConfigDict, inputs: RunInputs, log: Log) -> None:
    engine = inputs.engine
    if config.preset == "paper" and jax.default_backend() == "cpu":
        print("Note: the full size is meant for GPUs; on a CPU an epoch of a fold takes minutes.")
    with log.stage("train") as stage:
        rounds = engine.rounds()
        stage.reused = bool(rounds) and not any(each.updates_left() for each in rounds)
        if stage.reused:
            done = f"all {engine.trainer.settings.epochs} epochs are in {engine.checkpoint_folder}"
            print(f"Reused the trained folds: {done}.")
            return
        options = setup.training_options(config, inputs.dataset)
        engine.train(log, limit=inputs.limit, **options)


def _evaluate(
    config: ConfigDict, inputs: RunInputs, folder: Path, log: Log, *, force: bool
) -> Predictions | None:
    """Write the held-out predictions; return None where those of the folder are reused."""
    engine, path = inputs.engine, folder / "predictions.csv"
    rounds = engine.rounds()
    if not rounds or any(each.updates_left() for each in rounds):
        raise UserError(
            f"{folder}: not all {engine.trainer.settings.epochs} epochs are trained, and only the "
            "last one is evaluated. Fix: --mode=train, or no --mode."
        )
    with log.stage("evaluate") as stage:
        newest = max(
            (each.checkpoints.path(each.end_position) for each in rounds), key=_modified_time
        )
        made = path.is_file() and _modified_time(path) >= _modified_time(newest)
        stage.reused = not force and bool(hosts.broadcast(made))
        if stage.reused:
            print(f"Reused {path}.")
            return None
        print("Evaluating the held-out clips; compiling ...", flush=True)
        predictions = held_out.predictions_from_logits(
            engine.trainer.folds, engine.logits(), inputs.dataset
        )
        if hosts.is_first():
            predictions_csv.write_csv(path, predictions, config.evaluation.select)
    return predictions


def _modified_time(path: Path) -> float:
    return path.stat().st_mtime


def _report(
    folder: Path, config: ConfigDict, log: Log, predictions: Predictions | None = None
) -> None:
    """Write metrics and page, from these predictions or from those in the folder."""
    with log.stage("report"):
        if predictions is None:
            predictions = _read_with_rule(folder / "predictions.csv", config.evaluation.select)
        events, fields = log.read(), config.to_dict()
        pictures = clip_pictures.draw(folder, predictions, fields, events)
        path = report.write(folder, predictions, fields, events, pictures)
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    print(f"\n{report.text_table(scores)}\n\nReport: {path}")


def _read_with_rule(path: Path, rule: str) -> Predictions:
    """Read the predictions of an earlier call; the rule that answers may be another by now."""
    if not path.is_file():
        raise UserError(f"{path} is not there. Fix: the same command without --mode.")
    predictions = predictions_csv.read_csv(path)
    predictions_csv.write_csv(path, predictions, rule)
    return predictions


def _format_stage_times(log: Log, seconds: float) -> str:
    """One line: the stages of this call, newest last."""
    events = log.read()
    start = max(at for at, event in enumerate(events) if event["event"] == "start")
    parts = [
        f"{event['name']} {event['seconds']:.0f}{_NBSP}s" + " (reused)" * event["reused"]
        for event in events[start:]
        if event["event"] == "stage"
    ]
    text = textwrap.fill(f"Time: {', '.join(parts)}; {seconds:.0f}{_NBSP}s in all.", 79)
    return text.replace(_NBSP, " ")
