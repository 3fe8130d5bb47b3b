"""One run, from its configuration to its report. Each stage reuses and reports finished work."""

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

_NBSP = "\N{NO-BREAK SPACE}"  # keeps a number and its unit on one line


class RunInputs(NamedTuple):
    """Inputs of training and evaluation; `limit` is the usable memory of a device, in bytes."""

    dataset: data.Dataset
    engine: Engine
    limit: int


def run(config: ConfigDict, workdir: str, mode: str) -> None:
    """Run an experiment, or the part of it that `mode` names.

    Args:
      config: Configuration from `mser_jax.config.defaults.get_config`, with the user's changes.
      workdir: Folder for all output of the run; '' for a folder under runs/.
      mode: 'all', 'train', 'evaluate', 'report' or 'final'.

    Raises:
      UserError: A field, a file or the data cannot be used; nothing is lost.
      KeyboardInterrupt: The user stopped the run, and its state is saved.
    """
    start = time.perf_counter()
    validation.validate(config)
    hosts.use_compilation_cache()
    with contextlib.ExitStack() as stack:
        with hosts.first_process_first():
            folder = open_workdir(config, workdir)
            if hosts.is_first():
                stack.enter_context(folders.lock(folder))
        mode_folder = _mode_folder(folder, mode)
        log = Log(mode_folder / "log.jsonl" if hosts.is_first() else Path(os.devnull))
        print(f"Run: {mode_folder}")
        log.write("start", **provenance(config, mode))
        if mode == "final":
            _train_final(config, mode_folder, log)
        elif mode != "report":
            _prepare_and_train(config, folder, log, mode)
        elif hosts.is_first():
            _report(folder, config, log)
    if hosts.is_first():
        print(_format_stage_times(log, time.perf_counter() - start))


def _mode_folder(folder: Path, mode: str) -> Path:
    """Return the folder in which a mode logs and trains.

    The final training has its own, so that it does not touch the output of the folds.
    """
    if mode != "final":
        return folder
    subfolder = folder / final.FOLDER
    subfolder.mkdir(exist_ok=True)
    return subfolder


def _train_final(config: ConfigDict, folder: Path, log: Log) -> None:
    """Train one network on every clip, and save it."""
    if not networks.is_network(config):
        raise UserError(
            f"{config.model.name} is not a network, so there are no weights to save. Fix: use the "
            "configuration of a network, such as configs/synthetic.py."
        )
    if jax.process_count() > 1:
        raise UserError("--mode=final trains in one process only. Fix: drop --distributed.")
    with log.stage("prepare clips") as stage:
        prepared = prepare(config)
        stage.reused = prepared.reused
    limit = planning.usable_memory(parallel.fold_mesh())
    dataset = _read_dataset(config, prepared, limit, log)
    folds = [folding.all_clips_fold(len(dataset.clip), config.seed)]
    setup.warn_untrained_classes(dataset, folds)
    trainer = setup.make_trainer(config, dataset, folds)
    inputs = RunInputs(dataset, setup.make_engine(config, dataset, trainer, folder, limit), limit)
    _train(config, inputs, log)
    with log.stage("keep") as stage:
        stage.reused = final.is_saved(folder, inputs.engine)
        if not stage.reused:
            facts = {
                **provenance(config, "final"),
                "set": prepared.name,
                "fingerprint": identity.portable_fingerprint(config.prep.to_dict()),
            }
            final.save(
                folder, inputs.engine, np.asarray(dataset.clips.labels), dataset.facts(), facts
            )
    print(
        f"\nTrained on all {len(dataset.clip)} clips: {folder / final.WEIGHTS_FILE}\nTo export a "
        f"model: python -m mser_jax.export {folder.parent} model/"
    )


def _prepare_and_train(config: ConfigDict, folder: Path, log: Log, mode: str) -> None:
    classical = not networks.is_network(config)
    if mode == "evaluate" and not (classical or (folder / "checkpoints").is_dir()):
        raise UserError(
            f"{folder}: nothing is trained yet. Fix: run the same command without --mode."
        )
    with log.stage("prepare clips") as stage, hosts.first_process_first():
        prepared = prepare(config)
        stage.reused = prepared.reused
    if classical:
        if hosts.is_first():
            predictions = _fit(config, prepared, folder, log)
            if mode != "train":
                _report(folder, config, log, predictions)
        return
    inputs = _load_inputs(config, prepared, folder, log)
    if mode != "evaluate":
        _train(config, inputs, log)
    if mode == "train":
        return
    predictions = _evaluate(config, inputs, folder, log, force=mode == "evaluate")
    if hosts.is_first():
        _report(folder, config, log, predictions)


def _fit(config: ConfigDict, prepared: PreparedSet, folder: Path, log: Log) -> Predictions:
    """Fit and evaluate a model that is not a network.

    It takes seconds, so nothing is reused.
    """
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
    """Fit a model that is not a network, and predict the held-out clips.

    Args:
      config: Configuration of the run.
      dataset: Clips.
      folds: Training and test clips of each fold.
      show_progress: True to show a progress bar.

    Returns:
      The table of held-out predictions.
    """
    from mser_jax.experiments import classical  # imports scikit-learn, which networks do not need

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
    """Read the clips of a prepared set, as the configuration needs them.

    Args:
      config: Configuration of the run.
      prepared: Prepared set.
      limit: Usable memory of a device, in bytes. If `config.parallel.data` is 'auto', clips that
        need more than half of it stay on disk.
    """
    placement = config.parallel.data if "parallel" in config else "resident"
    return data.load(
        prepared.path,
        config.prep.to_dict(),
        kind=config.input.kind,
        scale=config.input.scale,
        fits_in_memory=lambda size: (
            placement == "resident" or (placement == "auto" and 2 * size <= limit)
        ),
    )


def _train(config: ConfigDict, inputs: RunInputs, log: Log) -> None:
    engine = inputs.engine
    if config.preset == "paper" and jax.default_backend() == "cpu":
        print(
            "Note: the full size is meant for GPUs. On a CPU, an epoch of one fold takes minutes."
        )
    with log.stage("train") as stage:
        rounds = engine.rounds()
        stage.reused = bool(rounds) and not any(round_.updates_left() for round_ in rounds)
        if stage.reused:
            done = f"all {engine.trainer.settings.epochs} epochs are in {engine.checkpoint_folder}"
            print(f"Reused the trained folds: {done}.")
            return
        options = setup.training_options(config, inputs.dataset)
        engine.train(log, limit=inputs.limit, **options)


def _evaluate(
    config: ConfigDict, inputs: RunInputs, folder: Path, log: Log, *, force: bool
) -> Predictions | None:
    """Write the held-out predictions, or return None if the folder's are reused."""
    engine, path = inputs.engine, folder / "predictions.csv"
    rounds = engine.rounds()
    if not rounds or any(round_.updates_left() for round_ in rounds):
        raise UserError(
            f"{folder}: not all {engine.trainer.settings.epochs} epochs are trained, and only the "
            "last one is evaluated. Fix: run it with --mode=train, or without --mode."
        )
    with log.stage("evaluate") as stage:
        newest = max(
            (round_.checkpoints.path(round_.end_position) for round_ in rounds),
            key=_modified_time,
        )
        up_to_date = path.is_file() and _modified_time(path) >= _modified_time(newest)
        stage.reused = not force and bool(hosts.broadcast(up_to_date))
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
    """Write the metrics and the page.

    The predictions are read from the folder if none are given.
    """
    with log.stage("report"):
        if predictions is None:
            predictions = _read_with_rule(folder / "predictions.csv", config.evaluation.select)
        events, fields = log.read(), config.to_dict()
        pictures = clip_pictures.draw(folder, predictions, fields, events)
        path = report.write(folder, predictions, fields, events, pictures)
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    print(f"\n{report.text_table(scores)}\n\nReport: {path}")


def _read_with_rule(path: Path, rule: str) -> Predictions:
    """Read the predictions of an earlier call, and write them with the current rule.

    The rule that chooses the answers may have changed since.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file, so no clip has been answered yet. Fix: run the same "
            "command without --mode, which trains first."
        )
    predictions = predictions_csv.read_csv(path)
    predictions_csv.write_csv(path, predictions, rule)
    return predictions


def _format_stage_times(log: Log, seconds: float) -> str:
    """Format the times of this call's stages, in their order."""
    events = log.read()
    start = max(index for index, event in enumerate(events) if event["event"] == "start")
    parts = [
        f"{event['name']} {event['seconds']:.0f}{_NBSP}s{' (reused)' if event['reused'] else ''}"
        for event in events[start:]
        if event["event"] == "stage"
    ]
    text = textwrap.fill(f"Time: {', '.join(parts)}; {seconds:.0f}{_NBSP}s in all.", 79)
    return text.replace(_NBSP, " ")
