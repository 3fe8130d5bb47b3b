"""What choosing the epoch on the test clips would have claimed: to be seen, never to be reported.

A network that is evaluated after every epoch, and of which the best epoch is reported, was chosen
by the clips that it is tested on. Much published code does that, fold by fold; here stands how much
it adds to the figures of the same training.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

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
    "Fix: train anew, in another --workdir, with --config.report.inflated=True from the start; "
    "or leave it False."
)
_TOLERANCE = 0.05  # how far two programs may be apart in a probability, with bfloat16 maps


def write(workdir: Path, predictions: Predictions, epochs: int, rule: str) -> dict[str, Any]:
    """Write metrics_inflated.json.

    Args:
      workdir: the run's folder, with what its training kept in inflated/.
      predictions: the run's table.
      epochs: of the training.
      rule: one of `selection.RULES`.

    Returns:
      What `results` returns.

    Raises:
      UserError: a file in inflated/ is absent, or is not of this training.
    """
    told = results(predictions, read(workdir, predictions, epochs), rule)
    path = workdir / "metrics_inflated.json"
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    return told


def read(workdir: Path, predictions: Predictions, epochs: int) -> np.ndarray:
    """Read what the network of every epoch says of the test clips.

    The files are inflated/round-<r>-epoch-<e>.npy, both from 1: `[rows of the round, k, c]`, the
    rounds of an epoch in order as the rows of the table.

    Returns:
      `[epoch, n, k, c]` float32.

    Raises:
      UserError: a file is absent, or is not of this training.
    """
    folder = workdir / "inflated"
    shape = predictions.probabilities.shape
    joined = [_read_epoch(folder, epoch, shape) for epoch in range(1, epochs + 1)]
    answered = ~predictions.failed
    apart = np.abs(joined[-1][answered] - predictions.probabilities[answered])
    if not (np.isfinite([each[answered] for each in joined]).all() and apart.max() < _TOLERANCE):
        raise _wrong_training_error(folder)
    return np.stack(joined)


def results(predictions: Predictions, probabilities: np.ndarray, rule: str) -> dict[str, Any]:
    """Everything that metrics_inflated.json holds; clips of a fold that failed are left out.

    Args:
      predictions: the table, of the last epoch.
      probabilities: `[epoch, n, k, c]`, what each epoch says of its rows.
      rule: one of `selection.RULES`, which answers at every epoch.

    Returns:
      not_a_result, rule, chosen_by, in words; epochs, how many; last_epoch: the accuracy, uf1 and
      uar of the table; each_fold: those with the best epoch of every (fold, seed), and one_epoch:
      those of the epoch that is best for all, each with its difference from last_epoch, and with
      the epochs, from 1. Best is the most right answers to the test clips, the first of equals.
      The rule 'train_loss' chooses the head by the final training losses at every epoch.

    Raises:
      UserError: every fold failed, or there is no such rule.
    """
    table, probabilities = failures.drop_failed(predictions), probabilities[:, ~predictions.failed]
    epochs = [dataclasses.replace(table, probabilities=each) for each in probabilities]
    names = list(failures.rows_per_training(table))
    training = _training_of_row(table, names)
    right = [selection.choose(each, rule)[0].argmax(axis=1) == table.label for each in epochs]
    hits = np.stack([np.bincount(training, weights=each) for each in right])  # [epoch, training]
    one, best = int(hits.sum(axis=1).argmax()), hits.argmax(axis=0)
    mixed = probabilities[best[training], np.arange(len(table))]
    last = _scores(table, rule)
    return {
        "not_a_result": NOT_A_RESULT,
        "rule": rule,
        "chosen_by": _CHOSEN_BY + _LAST_LOSSES * (rule == "train_loss"),
        "epochs": len(epochs),
        "last_epoch": last,
        "each_fold": {
            **_with_difference(
                _scores(dataclasses.replace(table, probabilities=mixed), rule), last
            ),
            "chosen": [
                {"fold": fold, "seed": seed, "epoch": epoch + 1}
                for (fold, seed), epoch in zip(names, best.tolist())
            ],
        },
        "one_epoch": {**_with_difference(_scores(epochs[one], rule), last), "epoch": one + 1},
    }


def _training_of_row(table: Predictions, names: list[tuple[str, int]]) -> np.ndarray:
    """`[n]`, the index of each row's (fold, seed)."""
    slots = {name: slot for slot, name in enumerate(names)}
    return np.array([slots[key] for key in zip(table.fold.tolist(), table.seed.tolist())])


def _scores(table: Predictions, rule: str) -> dict[str, Any]:
    scores = metrics.mean_scores(metrics.confusion_by_subject(table, rule).sum(axis=1))
    return {name: scores[name] for name in metrics.HEADLINE}


def _with_difference(scores: dict[str, Any], last_epoch: dict[str, Any]) -> dict[str, Any]:
    """The scores, and how much they are above the last epoch's; None where one is not defined."""
    above = {
        name: None if None in (score, last_epoch[name]) else score - last_epoch[name]
        for name, score in scores.items()
    }
    return {**scores, "difference": above}


def _read_epoch(folder: Path, epoch: int, shape: tuple[int, ...]) -> np.ndarray:
    """Its rounds, until all rows are there; more files are those of an earlier training."""
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
        raise UserError(f"{path} is not whole ({error}). {_REMEDY}") from error


def _wrong_training_error(folder: Path) -> UserError:
    return UserError(f"{folder} does not hold what led to predictions.csv. {_REMEDY}")
