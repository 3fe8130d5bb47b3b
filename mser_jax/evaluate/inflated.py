"""Scores if the epoch were chosen on the test clips: for comparison, never a result.

A network that is evaluated after every epoch and reported at its best epoch was chosen by the
clips that it is tested on. Much published code does that, fold by fold. This module computes how
much it adds to the scores of the same training.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.common import files
from data_prep.common.errors import UserError
from mser_jax.evaluate import failures, metrics, selection
from mser_jax.evaluate.predictions import Predictions

NOT_A_RESULT = (
    "Not a result: the epoch was chosen by the clips that it is tested on. These figures say how "
    "much that adds; report those of the last epoch."
)
_CHOSEN_BY = "the most right answers to the test clips; of equal epochs the first"
_LAST_LOSSES = (
    "; the head by the training losses after the last epoch, as those of the others are not kept"
)
_REMEDY = (
    "Fix: train again, in another --workdir, with --config.report.inflated=True from the start, "
    "or leave it False."
)
_TOLERANCE = 0.05  # largest difference between two programs' probabilities, with bfloat16 maps


def write(workdir: Path, predictions: Predictions, epochs: int, rule: str) -> dict[str, Any]:
    """Write metrics_inflated.json.

    Args:
      workdir: Folder of the run; its training has written the files in inflated/.
      predictions: Table of the run.
      epochs: Number of epochs of the training.
      rule: One of `selection.RULES`.

    Returns:
      The content of the file, as from `results`.

    Raises:
      UserError: A file in inflated/ is missing or belongs to another training.
    """
    content = results(predictions, read(workdir, predictions, epochs), rule)
    files.write_json(workdir / "metrics_inflated.json", content)
    return content


def read(workdir: Path, predictions: Predictions, epochs: int) -> np.ndarray:
    """Read the probabilities of the test clips after every epoch.

    The files are inflated/round-<r>-epoch-<e>.npy, both counted from 1, each `[rows of the round,
    k, c]`. The rounds of an epoch, in order, make up the rows of the table.

    Args:
      workdir: Folder of the run.
      predictions: Table of the run, from the last epoch.
      epochs: Number of epochs of the training.

    Returns:
      `[epoch, n, k, c]` float32.

    Raises:
      UserError: A file is missing or belongs to another training.
    """
    folder = workdir / "inflated"
    shape = predictions.probabilities.shape
    epoch_arrays = [_read_epoch(folder, epoch, shape) for epoch in range(1, epochs + 1)]
    answered = ~predictions.failed
    difference = np.abs(epoch_arrays[-1][answered] - predictions.probabilities[answered])
    if not (
        np.isfinite([values[answered] for values in epoch_arrays]).all()
        and difference.max() < _TOLERANCE
    ):
        raise _wrong_training_error(folder)
    return np.stack(epoch_arrays)


def results(predictions: Predictions, probabilities: np.ndarray, rule: str) -> dict[str, Any]:
    """Return the content of metrics_inflated.json.

    Clips of failed folds are left out.

    Args:
      predictions: Table of the last epoch.
      probabilities: `[epoch, n, k, c]`, the probabilities of the table's rows after each epoch.
      rule: One of `selection.RULES`, applied at every epoch.

    Returns:
      not_a_result, rule, and chosen_by, in words; epochs: the number of epochs; last_epoch: the
      accuracy, uf1 and uar of the table; each_fold: these scores with the best epoch of every
      (fold, seed); one_epoch: these scores at the single epoch that is best for all. The last two
      include the difference from last_epoch, and the chosen epochs, counted from 1. The best epoch
      has the most right answers to the test clips; of equal epochs, the first is taken. The rule
      'train_loss' chooses the head by the final training losses at every epoch.

    Raises:
      UserError: Every fold failed, or the rule does not exist.
    """
    table, probabilities = failures.drop_failed(predictions), probabilities[:, ~predictions.failed]
    epochs = [dataclasses.replace(table, probabilities=epoch) for epoch in probabilities]
    names = list(failures.rows_per_training(table))
    training = _training_of_row(table, names)
    correct = [selection.choose(epoch, rule)[0].argmax(axis=1) == table.label for epoch in epochs]
    # [epoch, training]
    hits = np.stack([np.bincount(training, weights=right) for right in correct])
    best_epoch, best_epochs = int(hits.sum(axis=1).argmax()), hits.argmax(axis=0)
    best = probabilities[best_epochs[training], np.arange(len(table))]
    last = _scores(table, rule)
    return {
        "not_a_result": NOT_A_RESULT,
        "rule": rule,
        "chosen_by": _CHOSEN_BY + _LAST_LOSSES * (rule == "train_loss"),
        "epochs": len(epochs),
        "last_epoch": last,
        "each_fold": {
            **_with_difference(_scores(dataclasses.replace(table, probabilities=best), rule), last),
            "chosen": [
                {"fold": fold, "seed": seed, "epoch": epoch + 1}
                for (fold, seed), epoch in zip(names, best_epochs.tolist())
            ],
        },
        "one_epoch": {
            **_with_difference(_scores(epochs[best_epoch], rule), last),
            "epoch": best_epoch + 1,
        },
    }


def _training_of_row(table: Predictions, names: list[tuple[str, int]]) -> np.ndarray:
    """Return the index of each row's (fold, seed) in `names`, `[n]`."""
    indices = {name: index for index, name in enumerate(names)}
    return np.array([indices[key] for key in zip(table.fold.tolist(), table.seed.tolist())])


def _scores(table: Predictions, rule: str) -> dict[str, Any]:
    scores = metrics.mean_scores(metrics.confusion_by_subject(table, rule).sum(axis=1))
    return {name: scores[name] for name in metrics.HEADLINE}


def _with_difference(scores: dict[str, Any], last_epoch: dict[str, Any]) -> dict[str, Any]:
    """Add the difference between these scores and the last epoch's scores.

    A difference is None if one of its scores is undefined.
    """
    difference = {
        name: None if None in (score, last_epoch[name]) else score - last_epoch[name]
        for name, score in scores.items()
    }
    return {**scores, "difference": difference}


def _read_epoch(folder: Path, epoch: int, shape: tuple[int, ...]) -> np.ndarray:
    """Read rounds of an epoch until all rows are read.

    Further files belong to an earlier training.
    """
    parts: list[np.ndarray] = []
    while (rows := sum(map(len, parts))) < shape[0]:
        part = _load(folder / f"round-{len(parts) + 1}-epoch-{epoch}.npy")
        if part.shape[1:] != shape[1:] or not 0 < len(part) <= shape[0] - rows:
            raise _wrong_training_error(folder)
        parts.append(part)
    return np.concatenate(parts)


def _load(path: Path) -> np.ndarray:
    try:
        return np.load(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}. {_REMEDY}") from error
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: the file is incomplete ({error}). {_REMEDY}") from error


def _wrong_training_error(folder: Path) -> UserError:
    return UserError(f"{folder}: the files do not match predictions.csv. {_REMEDY}")
