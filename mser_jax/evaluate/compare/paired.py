"""Comparison of two tables of the same clips: the difference of their scores, clip by clip."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from data_prep.common.errors import UserError
from mser_jax.evaluate import metrics, selection
from mser_jax.evaluate.predictions import Predictions

Key = tuple[Any, ...]  # (dataset, subject, clip), some with the seed

_REMEDY = "Fix: run both on the same prepared clips, with the same seed and protocol."


class Discordant(NamedTuple):
    """Clips (dataset, subject, clip) that only the candidate, or only the baseline, gets right."""

    gained: list[Key]
    lost: list[Key]


def compare(
    tables: Mapping[str, Predictions], without: str, with_: str, rule: str
) -> dict[str, Any]:
    """Subtract the scores of `without` from the scores of `with_`.

    The two runs must hold the same clips, labels, folds and seeds.

    Args:
      tables: Predictions, by the names that messages use.
      without: Name of the baseline table.
      with_: Name of the candidate table.
      rule: One of `selection.RULES`, for both tables.

    Returns:
      without, with: the names; and the entries of `paired_difference`.

    Raises:
      UserError: The tables do not hold the same clips, labels, folds and seeds; a class has no
        clip; or the rule does not exist.
    """
    baseline, candidate = tables[without], tables[with_]
    _check_same_rows(without, baseline, with_, candidate)
    metrics.check_all_classes_present(baseline)
    return {
        "without": without,
        "with": with_,
        **paired_difference(baseline, candidate, (rule, rule)),
    }


def paired_difference(
    baseline: Predictions, candidate: Predictions, rules: tuple[str, str]
) -> dict[str, Any]:
    """Subtract the baseline's scores from the candidate's, on the same clips.

    The interval is that of the difference when subjects are resampled, with the same resamples
    for both tables (`metrics.bootstrap`). McNemar's test assumes independent clips. The clips of
    one subject are not independent, so p tends to be too small; the interval allows for it. With
    few subjects a percentile interval tends to be too narrow.

    Args:
      baseline: Table of the baseline.
      candidate: Table of the candidate, of the same clips. The numbers of seeds may differ.
      rules: One of `selection.RULES` for each table, in this order.

    Returns:
      difference: of accuracy, uf1 and uar, mean over the seeds; None if a class has no clip;
      interval: of these differences, as from `metrics.bootstrap`;
      gained, lost: number of clips that only `candidate`, or only `baseline`, gets right (summed
        over all seeds, paired in their order); None if the numbers of seeds differ;
      mcnemar_p: exact, two-sided; None with several seeds, since each clip would count repeatedly.

    Raises:
      UserError: A rule does not exist.
    """
    before, after = (
        metrics.confusion_by_subject(*pair) for pair in zip((baseline, candidate), rules)
    )
    paired_seeds = len(before) == len(after)
    return {
        "difference": {
            name: None if np.isnan(value) else value.item()
            for name, value in _difference(_pooled_scores(before), _pooled_scores(after)).items()
        },
        "interval": metrics.intervals(
            _difference(metrics.resample_scores(before), metrics.resample_scores(after))
        ),
        **_changes(
            discordant_clips(baseline, candidate, rules) if paired_seeds else None, len(before)
        ),
    }


def discordant_clips(
    baseline: Predictions, candidate: Predictions, rules: tuple[str, str]
) -> Discordant:
    """Find the clips that only one of the tables gets right.

    Args:
      baseline: As in `paired_difference`.
      candidate: As in `paired_difference`, with as many seeds as `baseline`.
      rules: As in `paired_difference`.
    """
    before, after = (_correct_rows(*pair) for pair in zip((baseline, candidate), rules))
    clips = [key[:-1] for key in sorted(_keys(baseline))]
    return Discordant(
        [clip for clip, gain in zip(clips, after & ~before) if gain],
        [clip for clip, loss in zip(clips, before & ~after) if loss],
    )


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    It is that of a fair coin tossed once for each clip whose correctness changed.

    Args:
      gained: Number of clips that only the candidate gets right.
      lost: Number of clips that only the baseline gets right.
    """
    return float(stats.binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def _changes(changed_clips: Discordant | None, seeds: int) -> dict[str, int | float | None]:
    if changed_clips is None:
        return dict.fromkeys(("gained", "lost", "mcnemar_p"))
    gained, lost = map(len, changed_clips)
    p = mcnemar(gained, lost) if seeds == 1 else None
    return {"gained": gained, "lost": lost, "mcnemar_p": p}


def _pooled_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    return metrics.summary(counts.sum(axis=1))


def _difference(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Subtract the scores, each averaged over the seeds.

    The seeds are the last axis, which keeps the length 1.
    """
    return {
        name: after[name].mean(axis=-1, keepdims=True) - before[name].mean(axis=-1, keepdims=True)
        for name in metrics.HEADLINE
    }


def _correct_rows(table: Predictions, rule: str) -> np.ndarray:
    """Return which rows are right, `[n]` bool, in the order of their sorted keys.

    Two tables of the same clips share that order.
    """
    answer = selection.choose(table, rule)[0].argmax(axis=1)
    keys = _keys(table)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return (answer == table.label)[order]


def _keys(table: Predictions) -> list[Key]:
    columns = (table.dataset, table.subject, table.clip, table.seed)
    return list(zip(*(column.tolist() for column in columns)))


def check_same_clips(
    first_name: str, first_table: Predictions, second_name: str, second_table: Predictions
) -> None:
    """Raise UserError if two tables differ in clips, labels or folds.

    Their seeds may differ.

    Args:
      first_name: Name of `first_table`, for the message.
      first_table: Table of predictions.
      second_name: Name of `second_table`, for the message.
      second_table: Table of predictions.

    Raises:
      UserError: The tables differ.
    """
    first, second = (
        table.take(table.seed == table.seed.min()) for table in (first_table, second_table)
    )
    reseeded = dataclasses.replace(second, seed=np.full(len(second), first.seed.min()))
    _check_same_rows(first_name, first, second_name, reseeded)


def _check_same_rows(
    first_name: str, first_table: Predictions, second_name: str, second_table: Predictions
) -> None:
    first, second = _labels_and_folds(first_table), _labels_and_folds(second_table)
    if unshared := first.keys() ^ second.keys():
        key = min(unshared)
        holder = first_name if key in first else second_name
        raise UserError(
            f"{first_name} and {second_name} were not tested on the same clips and seeds: "
            f"{len(unshared)} are in only one of them, such as clip {'/'.join(key[:3])}, seed "
            f"{key[3]}, of {holder}. {_REMEDY}"
        )
    for key, entry in first.items():
        if entry != second[key]:
            raise UserError(
                f"{first_name} and {second_name} do not agree on clip {'/'.join(key[:3])}: label "
                f"{entry[0]} in fold {entry[1]}, and label {second[key][0]} in fold "
                f"{second[key][1]}. {_REMEDY}"
            )


def _labels_and_folds(table: Predictions) -> dict[tuple, tuple[str, str]]:
    """Return (label, fold) by (dataset, subject, clip, seed)."""
    labels = [table.class_names[label] for label in table.label]
    return dict(zip(_keys(table), zip(labels, table.fold.tolist())))
