"""Comparison of two finished runs, which may differ in anything, on the clips of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_prep.common import fields
from data_prep.common.errors import UserError
from mser_jax.evaluate import failures, metrics, predictions_csv, selection
from mser_jax.evaluate.compare import paired
from mser_jax.evaluate.predictions import Predictions

NAMES = ("A", "B")


class Run(NamedTuple):
    """Output of a finished run.

    Attributes:
      folder: Folder of the run, as the user wrote it.
      config: Configuration fields of the run.
      predictions: Table of held-out predictions.
    """

    folder: str
    config: Mapping[str, Any]
    predictions: Predictions

    @property
    def rule(self) -> str:
        """Rule of `selection.RULES` that chooses the answering head."""
        return self.config["evaluation"]["select"]


def read(folder: str) -> Run:
    """Read a finished run.

    Args:
      folder: Folder of the run; '~' is expanded.

    Raises:
      UserError: The folder holds no finished run.
    """
    path = Path(folder).expanduser() / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        run = Run(folder, config, predictions_csv.read_csv(path.parent / "predictions.csv"))
        _ = run.rule, config["evaluation"]["protocol"], config["name"]
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}. Fix: give the folder of a finished run, its --workdir. "
            "Each member of an ablation has its own folder."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not the configuration of a run ({type(error).__name__}: {error}). Fix: "
            "remove it, and repeat the run's command with --mode=report, which writes it again."
        ) from error
    return run


def results(baseline: Run, candidate: Run) -> dict[str, Any]:
    """Compute the content of compare.json.

    Each run answers by its own rule. Clips that only one of them tested are left out and counted.

    Args:
      baseline: Run A.
      candidate: Run B.

    Returns:
      runs: for A and B the folder, name, protocol, rule, upper_bound, folds, seeds, number of
        tested clips (clips) and how many of them the other run did not test (not_shared);
      differing: (field, value in A, value in B) of the configurations;
      full, and per_dataset: dataset, clips, subjects, the headline scores of A and B with
        `seed_std` (`metrics.seed_std`), and B less A as from `paired.paired_difference`;
      gained_clips, lost_clips: (dataset, subject, clip) that only B, or only A, gets right; empty
        if a run has several seeds.

    Raises:
      UserError: The runs share no clip, or disagree on the classes or on a clip's label; a fold of
        one of them failed; a class has no shared clip; or a clip was not tested with every seed.
    """
    _check_same_classes(baseline, candidate)
    for run in (baseline, candidate):
        failures.check_none_failed(run.folder, run.predictions)
    table_a, table_b = tables = _restrict_to_shared(baseline, candidate)
    metrics.check_all_classes_present(table_a)
    rules = (baseline.rule, candidate.rule)
    full = _row("all clips", table_a, table_b, rules)
    changed = paired.Discordant([], [])
    if full["mcnemar_p"] is not None:
        changed = paired.discordant_clips(table_a, table_b, rules)
    return {
        "runs": [_run_row(*row) for row in zip(NAMES, (baseline, candidate), tables)],
        "differing": fields.differences(baseline.config, candidate.config),
        "full": full,
        "per_dataset": [
            _row(name, _rows_of_dataset(name, table_a), _rows_of_dataset(name, table_b), rules)
            for name in np.unique(table_a.dataset).tolist()
        ],
        "gained_clips": changed.gained,
        "lost_clips": changed.lost,
    }


def _row(
    name: str, baseline: Predictions, candidate: Predictions, rules: tuple[str, str]
) -> dict[str, Any]:
    clips = set(_clip_keys(baseline))
    return {
        "dataset": name,
        "clips": len(clips),
        "subjects": len({clip[:2] for clip in clips}),
        NAMES[0]: _scores(baseline, rules[0]),
        NAMES[1]: _scores(candidate, rules[1]),
        **paired.paired_difference(baseline, candidate, rules),
    }


def _rows_of_dataset(dataset: str, predictions: Predictions) -> Predictions:
    return predictions.take(predictions.dataset == dataset)


def _scores(predictions: Predictions, rule: str) -> dict[str, Any]:
    counts = metrics.confusion_by_subject(predictions, rule).sum(axis=1)
    scores = metrics.mean_scores(counts)
    return {name: scores[name] for name in metrics.HEADLINE} | {
        "seed_std": metrics.seed_std(counts)
    }


def _run_row(name: str, run: Run, shared_predictions: Predictions) -> dict[str, Any]:
    tested = len(_labels(run.predictions))
    return {
        "run": name,
        "folder": run.folder,
        "name": run.config["name"],
        "protocol": run.config["evaluation"]["protocol"],
        "rule": run.rule,
        "upper_bound": run.rule == selection.UPPER_BOUND,
        "folds": len(np.unique(run.predictions.fold)),
        "seeds": np.unique(run.predictions.seed).tolist(),
        "clips": tested,
        "not_shared": tested - len(_labels(shared_predictions)),
    }


def _restrict_to_shared(baseline: Run, candidate: Run) -> tuple[Predictions, Predictions]:
    """Return both tables, restricted to the clips that are in both."""
    first, second = _labels(baseline.predictions), _labels(candidate.predictions)
    clips = first.keys() & second.keys()
    if not clips:
        raise UserError(
            f"{baseline.folder} and {candidate.folder} tested no clip in common; the first clips "
            f"are {'/'.join(min(first))} and {'/'.join(min(second))}. Fix: compare runs on the "
            "same data."
        )
    for clip in sorted(clips):
        if first[clip] != second[clip]:
            raise UserError(
                f"{baseline.folder} and {candidate.folder} do not agree on clip "
                f"{'/'.join(clip)}: its label is {first[clip]} in the first and {second[clip]} in "
                "the second. Fix: compare runs with the same annotation and classes "
                "(config.data.sheet, config.data.classes)."
            )
    return _take_clips(baseline, clips), _take_clips(candidate, clips)


def _take_clips(run: Run, clips: set[tuple]) -> Predictions:
    """Return the rows of these clips; raise UserError if one of them lacks a seed."""
    rows = [key in clips for key in _clip_keys(run.predictions)]
    shared = run.predictions.take(np.array(rows))
    seeds = len(np.unique(shared.seed))
    if len(shared) != seeds * len(clips):
        raise UserError(
            f"{run.folder}: {seeds} seeds and {len(clips)} clips need {seeds * len(clips)} rows, "
            f"but predictions.csv has {len(shared)}. Fix: write it again with --mode=evaluate."
        )
    return shared


def _check_same_classes(baseline: Run, candidate: Run) -> None:
    names = [", ".join(run.predictions.class_names) for run in (baseline, candidate)]
    if names[0] != names[1]:
        raise UserError(
            f"{baseline.folder} has the classes {names[0]}, but {candidate.folder} has "
            f"{names[1]}. Fix: compare runs with the same classes (config.data.classes)."
        )


def _labels(predictions: Predictions) -> dict[tuple, str]:
    """Return the label by (dataset, subject, clip)."""
    labels = [predictions.class_names[label] for label in predictions.label]
    return dict(zip(_clip_keys(predictions), labels))


def _clip_keys(predictions: Predictions) -> list[tuple]:
    columns = (predictions.dataset, predictions.subject, predictions.clip)
    return list(zip(*(column.tolist() for column in columns)))
