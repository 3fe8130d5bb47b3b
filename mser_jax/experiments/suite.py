"""The suite: one run for each model of a set, the quickest first, with a table after each."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from data_prep.common import files, folders
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
# Errors that end one model, not the suite. JAX raises the second, such as when memory runs out.
_MODEL_ERRORS = (UserError, jax.errors.JaxRuntimeError)


def run_suite(config: ConfigDict, workdir: str, mode: str) -> None:
    """Run every unfinished model, and compare the finished ones.

    If a model cannot be run or its training diverges, the error is printed and the others go on.

    Args:
      config: Configuration of `configs/megc2019.py:all`, with the user's changes; they hold for
        each model.
      workdir: Folder of the suite, in which each model has a folder named after it; '' for a folder
        under runs/.
      mode: Mode of `run.run` for each model; 'train' makes no comparison.

    Raises:
      UserError: A field, a file or the data cannot be used; nothing is lost.
      KeyboardInterrupt: The user stopped the run, and its state is saved.
    """
    validation.validate(config)
    if jax.process_count() > 1:
        raise UserError(
            "All models run in one process. Fix: drop --distributed, or train one network: "
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
        raise UserError(f"{folder}: nothing has run here yet. Fix: run the command without --mode.")
    if trains:  # the page shows the command that trained
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
        raise UserError("No model has a result. Fix: see the reason for each model, printed above.")


def _selected_models(config: ConfigDict) -> list[str]:
    """Return the models that the user named, or else all.

    On a CPU, the large ones are left out unless named.
    """
    if config.suite.models:
        return list(config.suite.models)
    cpu_only = jax.default_backend() == "cpu"
    return [name for name, model in zoo.MODELS.items() if not (cpu_only and model.large)]


def _estimate_all(
    config: ConfigDict,
    members: Mapping[str, ConfigDict],
    folder: Path,
    faults: dict[str, str],
) -> dict[str, float]:
    """Estimate the seconds of each model, by timing a small part of its work.

    Estimates are saved for the next call. Errors are added to `faults`.
    """
    prepared = prepare(config, print_line=lambda line: None)
    devices = [device.device_kind for device in jax.devices()]
    conditions = {"devices": devices, "seeds": config.train.seeds, "clips": prepared.name}
    estimates = _read_estimates(folder / ESTIMATES, conditions)
    limit = planning.usable_memory(parallel.fold_mesh())
    for name in [name for name in members if name not in estimates["seconds"]]:
        print(f"Estimating {name} ...", flush=True)
        try:
            dataset = run.read_clips(members[name], prepared, limit)
            estimates["seconds"][name] = _estimate(members[name], dataset, limit)
        except _MODEL_ERRORS as error:
            faults[name] = str(error)
            print(f"{name} cannot be estimated: {error}", flush=True)
        files.write_json(folder / ESTIMATES, estimates)
    return {name: estimates["seconds"][name] for name in members if name in estimates["seconds"]}


def _read_estimates(path: Path, conditions: Mapping[str, Any]) -> dict[str, Any]:
    """Read the estimates of an earlier call under the same conditions.

    If there are none, return empty ones.
    """
    with contextlib.suppress(OSError, ValueError):
        estimates = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(estimates, dict) and estimates.get("of") == conditions:
            return estimates
    return {"of": conditions, "seconds": {}}


def _estimate(config: ConfigDict, dataset: Any, limit: int) -> float:
    if not networks.is_network(config):
        folds = setup.make_folds(config, dataset)
        return estimate.fitting_seconds(
            lambda timed_folds: run.fit(config, dataset, timed_folds, show_progress=False), folds
        )
    trainer = setup.make_trainer(config, dataset)
    return estimate.training_seconds(trainer, setup.make_feed(dataset, trainer, limit))


def _print_plan(
    members: Mapping[str, ConfigDict], seconds: Mapping[str, float], folder: Path
) -> None:
    """Print the models that are about to run, the quickest first."""
    for name in sorted(seconds, key=lambda name: seconds[name]):
        print(f"  {name:<16}{_duration(seconds[name]):>12}  {zoo.model(name).title}")
    if seconds:
        print(f"  {'in all':<16}{_duration(sum(seconds.values())):>12}, if nothing is finished yet")
    for name in zoo.MODELS:
        has_run = (folder / name / "predictions.csv").is_file()
        if name not in members and zoo.model(name).large and not has_run:
            print(
                f"  {name:<16}{'not run':>12}  large: to run it, name it in --config.suite.models"
            )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _write_table(
    folder: Path, config: ConfigDict, seconds: Mapping[str, float], faults: Mapping[str, str]
) -> None:
    """Write and print the table of all models that have a result so far."""
    finished = [name for name in zoo.MODELS if _has_result(folder / name, faults.get(name))]
    tables = {
        name: predictions_csv.read_csv(folder / name / "predictions.csv") for name in finished
    }
    if not tables:
        return
    try:
        results = suite_results.results(tables, config.evaluation.select)
    except UserError as error:  # such as a model that has not run on the current clips yet
        print(f"\nNo table of these models: {error}", flush=True)
        return
    path = suite_report.write(
        folder,
        results,
        config.to_dict(),
        Log(folder / "log.jsonl").read(),
        suite_report.Context(
            logs={name: Log(folder / name / "log.jsonl").read() for name in finished},
            not_run=_missing_reasons(finished, seconds, faults),
        ),
    )
    print(f"\n{suite_report.text_table(results)}\n\nModels: {path}")


def _has_result(folder: Path, fault: str | None) -> bool:
    """Return whether a model has predictions and has not failed in this call."""
    return fault is None and (folder / "predictions.csv").is_file()


def _missing_reasons(
    finished_models: Sequence[str], seconds: Mapping[str, float], faults: Mapping[str, str]
) -> dict[str, str]:
    """Return for each model without a row in the table the reason."""
    reasons = {}
    for name, model in zoo.MODELS.items():
        if name in finished_models:
            continue
        estimated = f", estimated {_duration(seconds[name])}" if name in seconds else ""
        large = ": large, only when it is named or on a GPU" if model.large else ""
        reasons[name] = faults.get(name, f"not run{large}{estimated}").partition("\n")[0]
    return reasons
