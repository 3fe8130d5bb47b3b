"""All models of a set as runs: the quickest first, a table after each, and what is left told."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_prep.common import folders
from data_prep.common.errors import UserError
from data_prep.pipeline.prepare import prepare
from mser_jax import hosts, parallel
from mser_jax.config import defaults, networks, validation, zoo
from mser_jax.evaluate import predictions_csv
from mser_jax.evaluate.compare import models as suite_results
from mser_jax.experiments import estimate, provenance, run, setup
from mser_jax.experiments.workdir import open_workdir
from mser_jax.report import suite as suite_report
from mser_jax.storage.log import Log
from mser_jax.train import planning

ESTIMATES = "estimates.json"
# What a model may end with while the others go on; a device without memory is of the second kind.
_MODEL_ERRORS = (UserError, jax.errors.JaxRuntimeError)


def run_suite(config: ConfigDict, workdir: str, mode: str) -> None:
    """Run every model that is not done yet, and compare those that are.

    A model that cannot be run, or whose training diverges, is told; the others go on.

    Args:
      config: of `configs/megc2019.py:all`, with the user's changes; they hold for each model.
      workdir: each model has a folder in it, named after it; '' for a folder under runs/.
      mode: as in `run.run`, for each model; 'train' compares nothing.

    Raises:
      UserError: a field, a file or the data cannot be used; nothing is lost.
      KeyboardInterrupt: stopped by the user, after saving.
    """
    validation.validate(config)
    if jax.process_count() > 1:
        raise UserError(
            "All models run in one process. Fix: without --distributed, or one network: "
            "--config=configs/megc2019.py:htnet --distributed."
        )
    hosts.use_compilation_cache()
    folder = open_workdir(config, workdir)
    print(f"Models: {folder}")
    with folders.lock(folder):
        _run_all(config, folder, mode)


def _run_all(config: ConfigDict, folder: Path, mode: str) -> None:
    trains = mode in ("all", "train")
    members = {
        name: defaults.suite_model_config(config, name)
        for name in _selected_models(config)
        if trains or (folder / name / "config.json").is_file()
    }
    if not members:
        raise UserError(f"{folder}: nothing has run here yet. Fix: the command without --mode.")
    if trains:  # so that the page shows the command that trained
        Log(folder / "log.jsonl").write("start", **provenance.provenance(config, mode))
    faults: dict[str, str] = {}
    seconds = _estimate_all(config, members, folder, faults) if trains else {}
    _print_plan(members, seconds, folder)
    order = sorted(members, key=lambda name: seconds.get(name, math.inf))
    for number, name in enumerate(order, 1):
        print(f"\nModel {number} of {len(members)}: {zoo.model(name).title}", flush=True)
        faults.pop(name, None)
        try:
            run.run(members[name], str(folder / name), mode)
        except _MODEL_ERRORS as error:
            faults[name] = str(error)
            print(f"{name} has no result: {error}", flush=True)
        if mode != "train":
            _write_table(folder, config, seconds, faults)
    if len(faults) == len(members):
        raise UserError("No model has a result; the reasons stand above, one for each.")


def _selected_models(config: ConfigDict) -> list[str]:
    """Those that were named; else all, and of the large ones only where there is a GPU."""
    if config.suite.models:
        return list(config.suite.models)
    small = jax.default_backend() == "cpu"
    return [name for name, model in zoo.MODELS.items() if not (small and model.large)]


def _estimate_all(
    config: ConfigDict,
    members: Mapping[str, ConfigDict],
    folder: Path,
    faults: dict[str, str],
) -> dict[str, float]:
    """Seconds that each model will take, measured on a few steps of it; kept for the next call."""
    prepared = prepare(config, print_line=lambda line: None)
    devices = [device.device_kind for device in jax.devices()]
    of = {"devices": devices, "seeds": config.train.seeds, "clips": prepared.name}
    kept = _read_estimates(folder / ESTIMATES, of)
    limit = planning.usable_memory(parallel.fold_mesh())
    for name in [name for name in members if name not in kept["seconds"]]:
        print(f"Estimating {name} ...", flush=True)
        try:
            dataset = run.read_clips(members[name], prepared, limit)
            kept["seconds"][name] = _estimate(members[name], dataset, limit)
        except _MODEL_ERRORS as error:
            faults[name] = str(error)
            print(f"{name} cannot be estimated: {error}", flush=True)
        _write(folder / ESTIMATES, kept)
    return {name: kept["seconds"][name] for name in members if name in kept["seconds"]}


def _read_estimates(path: Path, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """What was estimated before on these devices for these clips; nothing of others."""
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(kept, dict) and kept.get("of") == conditions:
            return kept
    return {"of": conditions, "seconds": {}}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    part = path.with_suffix(".part")  # so that a kill leaves the whole old one or the new one
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def _estimate(config: ConfigDict, dataset: Any, limit: int) -> float:
    if not networks.is_network(config):
        folds = setup.make_folds(config, dataset)
        return estimate.fitting_seconds(
            lambda some: run.fit(config, dataset, some, show_progress=False), folds
        )
    trainer = setup.make_trainer(config, dataset)
    return estimate.training_seconds(trainer, setup.make_feed(dataset, trainer, limit))


def _print_plan(
    members: Mapping[str, ConfigDict], seconds: Mapping[str, float], folder: Path
) -> None:
    """What is about to run, the quickest first."""
    for name in sorted(seconds, key=lambda name: seconds[name]):
        print(f"  {name:<16}{_duration(seconds[name]):>12}  {zoo.model(name).title}")
    if seconds:
        print(f"  {'in all':<16}{_duration(sum(seconds.values())):>12}, if none is done yet")
    for name in zoo.MODELS:
        ran = (folder / name / "predictions.csv").is_file()
        if name not in members and zoo.model(name).large and not ran:
            print(f"  {name:<16}{'not run':>12}  large: name it in --config.suite.models")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _write_table(
    folder: Path, config: ConfigDict, seconds: Mapping[str, float], faults: Mapping[str, str]
) -> None:
    """The table of what has run so far, in the folder and on the screen."""
    there = [name for name in zoo.MODELS if _has_result(folder / name, faults.get(name))]
    tables = {name: predictions_csv.read_csv(folder / name / "predictions.csv") for name in there}
    if not tables:
        return
    try:
        results = suite_results.results(tables, config.evaluation.select)
    except UserError as error:  # as of a model that has yet to be run on other clips
        print(f"\nNo table of these models: {error}", flush=True)
        return
    path = suite_report.write(
        folder,
        results,
        config.to_dict(),
        Log(folder / "log.jsonl").read(),
        suite_report.Context(
            logs={name: Log(folder / name / "log.jsonl").read() for name in there},
            not_run=_missing_reasons(there, seconds, faults),
        ),
    )
    print(f"\n{suite_report.text_table(results)}\n\nModels: {path}")


def _has_result(folder: Path, fault: str | None) -> bool:
    """Whether there are answers, and not of an earlier run than the one that failed."""
    return fault is None and (folder / "predictions.csv").is_file()


def _missing_reasons(
    finished_models: Sequence[str], seconds: Mapping[str, float], faults: Mapping[str, str]
) -> dict[str, str]:
    """Why each of the other models has no row."""
    reasons = {}
    for name, model in zoo.MODELS.items():
        if name in finished_models:
            continue
        estimated = f", estimated {_duration(seconds[name])}" if name in seconds else ""
        large = ": large, only when it is named or on a GPU" if model.large else ""
        reasons[name] = faults.get(name, f"not run{large}{estimated}").partition("\n")[0]
    return reasons
