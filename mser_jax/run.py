"""A run from its configuration to its report; each stage says what it finds done already."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from data_prep.errors import UserError
from data_prep.prepare import Prepared, prepare
from mser_jax import config as configs
from mser_jax import data, evaluate, loop, parallel, protocols, report, table, train
from mser_jax import folds as folding
from mser_jax.augment import Clips, View
from mser_jax.checkpoint import Checkpoints
from mser_jax.folds import Fold
from mser_jax.logs import Log
from mser_jax.models import BranchStyle, MSRes3D, MSRes3DSettings, functional
from mser_jax.workdir import open_workdir

_PACKAGES = ("mser_jax", "jax", "flax", "optax", "orbax-checkpoint", "numpy", "opencv-python")


class Loaded(NamedTuple):
    """What training and evaluation start from."""

    dataset: data.Dataset
    trainer: train.Trainer
    clips: Clips
    checkpoints: Checkpoints


def run(config: ConfigDict, workdir: str, mode: str) -> None:
    """Prepare, train, evaluate and report, or the part of it that `mode` names.

    Args:
      config: of `mser_jax.config.get_config`, with the user's changes.
      workdir: where the run keeps what it makes; '' for a folder under runs/.
      mode: 'all', 'train', 'evaluate' or 'report'.

    Raises:
      UserError: a field, a file or the data cannot be used; nothing is lost.
      KeyboardInterrupt: stopped by the user, after saving.
    """
    began = time.perf_counter()
    configs.validate(config)
    _keep_compiled_programs()
    folder = open_workdir(config, workdir)
    log = Log(folder / "log.jsonl")
    print(f"Run: {folder}")
    log.write("start", **provenance(config, mode))
    if mode == "report":
        _report(folder, config, log)
    else:
        _prepare_and_train(config, folder, log, mode)
    print(_where_the_time_went(log, time.perf_counter() - began))


def _prepare_and_train(config: ConfigDict, folder: Path, log: Log, mode: str) -> None:
    if mode == "evaluate" and not (folder / "checkpoints").is_dir():
        raise UserError(
            f"{folder}: nothing is trained yet. Remedy: the same command without --mode."
        )
    with log.stage("prepare clips") as stage:
        prepared = prepare(config)
        stage.reused = prepared.reused
    loaded = _load(config, prepared, folder, log)
    if mode != "evaluate":
        _train(config.preset, loaded, log)
    if mode == "train":
        return
    _evaluate(config, loaded, folder, log, anew=mode == "evaluate")
    _report(folder, config, log)


def provenance(config: ConfigDict, mode: str) -> dict[str, Any]:
    """What a reader needs to run it again."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "config": config.name,
        "preset": config.preset,
        "mode": mode,
        "command": "python -m mser_jax.main " + shlex.join(sys.argv[1:]),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "versions": versions,
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
    }


def _keep_compiled_programs() -> None:
    """A second run of the same shapes need not compile; JAX's own variable moves the folder."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        folder = Path.home() / ".cache" / "mser_jax" / "xla"
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _load(config: ConfigDict, prepared: Prepared, folder: Path, log: Log) -> Loaded:
    with log.stage("read shards"):
        dataset = read_clips(config, prepared)
    log.write(
        "data",
        clips=len(dataset.clip),
        dropped=dataset.dropped,
        release=dataset.release,
        repaired=dataset.repaired,
    )
    trainer = make_trainer(config, dataset)
    _check_classes(dataset, trainer.folds)
    return Loaded(
        dataset,
        trainer,
        parallel.replicate(dataset.clips, trainer.mesh),
        Checkpoints(
            folder / "checkpoints",
            [fold.title for fold in trainer.folds],
            f"{len(dataset.clip)} clips, {dataset.digest}",
        ),
    )


def read_clips(config: ConfigDict, prepared: Prepared) -> data.Dataset:
    """The clips of a prepared set, as the configuration wants them."""
    return data.load(
        prepared.path,
        config.prep.to_dict(),
        kind=config.input.kind,
        scale=config.input.scale,
    )


def _check_classes(dataset: data.Dataset, folds: Sequence[Fold]) -> None:
    """Before the training rather than after it: UF1 and UAR need a tested clip of every class."""
    tested = np.concatenate([fold.test for fold in folds])
    counts = np.bincount(dataset.clips.labels[tested], minlength=len(dataset.class_names))
    absent = [name for name, count in zip(dataset.class_names, counts) if not count]
    if absent:
        raise UserError(
            f"No clip that is tested is of class {', '.join(absent)}; UF1 and UAR would not be "
            "defined. Remedy: prepare more clips, or take other classes (--config.data.classes)."
        )


def make_trainer(config: ConfigDict, dataset: data.Dataset) -> train.Trainer:
    """The trainer that a configuration describes, for a data set."""
    flow = config.input.kind == "flow"
    view = View(
        size=config.prep.size,
        variants=_variants(config),
        channels=tuple(config.input.channels) if flow else (),
    )
    settings = model_settings(config, len(dataset.class_names), len(view.channels) or 1)
    mesh = parallel.fold_mesh()
    return train.Trainer(
        network=functional(lambda rngs: MSRes3D(settings, rngs=rngs), config.model.lowering),
        view=view,
        folds=_folds(config, dataset),
        settings=train.Settings(
            epochs=config.train.epochs,
            batch_size=config.train.batch_size,
            learning_rate=config.train.learning_rate,
            augment=config.augment.mode,
            checkpoint_every=config.train.checkpoint_every,
        ),
        mesh=mesh,
        lift=parallel.choose_lift(config.parallel.lift),
    )


def model_settings(config: ConfigDict, classes: int, channels: int) -> MSRes3DSettings:
    """The network's switches from the configuration's fields."""
    model = config.model
    style = BranchStyle(model.rc.reduction, model.rc.restore, model.rc.chain, model.rc.weights)
    return MSRes3DSettings(
        classes=classes,
        channels=channels,
        block=model.block,
        width=model.width,
        depths=tuple(model.depths),
        attention=model.attention,
        rc=style if model.rc.on else None,
        fusion=model.fusion.on,
        cascade=model.fusion.cascade,
        cam_reduction=model.fusion.reduction,
        hidden=model.head.hidden,
        dtype=model.dtype,
        remat=model.remat,
    )


def _variants(config: ConfigDict) -> tuple[str, ...]:
    """The original first: it is what a test clip is seen as."""
    if config.augment.mode == "none":
        return ("original",)
    others = [name for name in config.augment.variants if name != "original"]
    return ("original", *others)


def _folds(config: ConfigDict, dataset: data.Dataset) -> list[Fold]:
    evaluation = config.evaluation
    if evaluation.protocol == "leave_one_sample_out":
        print(
            "Warning: leave-one-sample-out trains on other clips of the tested subject; its "
            "figures are not comparable with LOSO."
        )
    folds = protocols.make_folds(
        evaluation.protocol,
        dataset,
        parts=evaluation.folds,
        held_out=evaluation.held_out,
        seed=config.seed,
    )
    return folding.replicate(folds, range(config.seed, config.seed + config.train.seeds))


def _train(preset: str, loaded: Loaded, log: Log) -> None:
    trainer, checkpoints = loaded.trainer, loaded.checkpoints
    if preset == "paper" and jax.default_backend() == "cpu":
        print("Note: the full size is meant for GPUs; on a CPU an epoch of a fold takes minutes.")
    with log.stage("train") as stage:
        done = checkpoints.epochs_done()
        stage.reused = done == trainer.settings.epochs
        if stage.reused:
            print(f"Reused the trained folds: all {done} epochs are in {checkpoints.folder}.")
            return
        if done:
            print(f"Going on after epoch {done}, from {checkpoints.folder}.")
        log.write(
            "train",
            updates_per_epoch=trainer.updates_per_epoch(),
            parameters=trainer.parameters(),
            lift=trainer.lift,
        )
        loop.train(trainer, loaded.clips, checkpoints, log)


def _evaluate(config: ConfigDict, loaded: Loaded, folder: Path, log: Log, *, anew: bool) -> None:
    trainer, path = loaded.trainer, folder / "predictions.csv"
    done = loaded.checkpoints.epochs_done()
    if done < trainer.settings.epochs:
        raise UserError(
            f"{folder}: {done} of {trainer.settings.epochs} epochs are trained, and only the last "
            "one is evaluated. Remedy: --mode=train, or no --mode."
        )
    newest = loaded.checkpoints.path(done)
    with log.stage("evaluate") as stage:
        stage.reused = not anew and _is_newer(path, newest)
        if stage.reused:
            print(f"Reused {path}.")
            return
        print("Evaluating the held-out clips; compiling ...", flush=True)
        _, state = loaded.checkpoints.restore(trainer.start())
        logits = evaluate.all_logits(trainer, state, loaded.clips)
        if not np.isfinite(logits).all():
            raise UserError(
                "The training diverged: its answers are not finite. Remedy: a smaller "
                "--config.train.learning_rate."
            )
        predictions = evaluate.predictions(trainer, logits, loaded.dataset)
        table.write_csv(path, predictions, config.evaluation.select)


def _is_newer(path: Path, than: Path) -> bool:
    return path.is_file() and path.stat().st_mtime >= than.stat().st_mtime


def _report(folder: Path, config: ConfigDict, log: Log) -> None:
    with log.stage("report"):
        path = folder / "predictions.csv"
        if not path.is_file():
            raise UserError(f"{path} is not there. Remedy: the same command without --mode.")
        predictions = table.read_csv(path)
        table.write_csv(path, predictions, config.evaluation.select)  # the rule may be another
        path = report.write(folder, predictions, config.to_dict(), log.read())
    scores = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    print(f"\n{report.text_table(scores)}\n\nReport: {path}")


def _where_the_time_went(log: Log, seconds: float) -> str:
    """One line: the stages of this call, newest last."""
    events = log.read()
    start = max(at for at, event in enumerate(events) if event["event"] == "start")
    parts = [
        f"{event['name']} {event['seconds']:.0f} s" + " (reused)" * event["reused"]
        for event in events[start:]
        if event["event"] == "stage"
    ]
    return textwrap.fill(f"Time: {', '.join(parts)}; {seconds:.0f} s in all.", 79)
