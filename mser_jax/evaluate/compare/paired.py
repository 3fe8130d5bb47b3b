"""Two tables of predictions of the same clips: what one answers better than the other."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from data_prep.common.errors import UserError
from mser_jax.evaluate import metrics, selection
from mser_jax.evaluate.predictions import Predictions

Key = tuple[Any, ...]  # (dataset, subject, clip), and the seed where it counts

_REMEDY = "Fix: run both on the same prepared clips, with the same seed and protocol."


class Discordant(NamedTuple):
    """The (dataset, subject, clip) that only the one table, or only the other, gets right."""

    gained: list[Key]
    lost: list[Key]


def compare(
    tables: Mapping[str, Predictions], without: str, with_: str, rule: str
) -> dict[str, Any]:
    """The scores of `with_` less those of `without`, of two runs that differ in nothing else.

    Args:
      tables: the predictions, by the names that messages use.
      without: name of the table that is compared with.
      with_: name of the table that is compared.
      rule: one of `selection.RULES`, for both.

    Returns:
      without, with: the names; and what `paired_difference` says.

    Raises:
      UserError: the tables do not hold the same clips, labels, folds and seeds; a class has no
        clip; or no such rule.
    """
    one, other = tables[without], tables[with_]
    _check_same_rows(without, one, with_, other)
    metrics.check_all_classes_present(one)
    return {"without": without, "with": with_, **paired_difference(one, other, (rule, rule))}


def paired_difference(
    baseline: Predictions, candidate: Predictions, rules: tuple[str, str]
) -> dict[str, Any]:
    """Compute the scores of `candidate` less those of `baseline`, clip by clip on the same clips.

    The interval is of the difference under resampling of the subjects, the same resamples for both
    tables (`metrics.bootstrap`). McNemar's test takes clips for independent, which those of one
    subject are not, so that p tends to be too small; the interval allows for it. With few subjects
    a percentile interval tends to be too narrow.

    Args:
      baseline: the table that is compared with.
      candidate: the table that is compared: of the same clips, each as often as it has seeds.
      rules: of `selection.RULES`, the one for each.

    Returns:
      difference: of accuracy, uf1 and uar, mean over the seeds; None where a class has no clip;
      interval: as `metrics.bootstrap` returns it, of these differences;
      gained, lost: how many clips only `candidate`, or only `baseline`, gets right (of all seeds, in their
        order); None where one table has more seeds;
      mcnemar_p: exact, two-sided; None with several seeds, where a clip would count several times.

    Raises:
      UserError: there is no such rule.
    """
    before, after = (
        metrics.confusion_by_subject(*each) for each in zip((baseline, candidate), rules)
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
    """Find the clips that only one table gets right; for the arguments see `paired_difference`."""
    before, after = (_correct_rows(*each) for each in zip((baseline, candidate), rules))
    clips = [key[:-1] for key in sorted(_keys(baseline))]
    return Discordant(
        [clip for clip, gain in zip(clips, after & ~before) if gain],
        [clip for clip, loss in zip(clips, before & ~after) if loss],
    )


def mcnemar(gained: int, lost: int) -> float:
    """The exact p-value of McNemar's test, two-sided: of a fair coin for each changed clip.

    Args:
      gained: clips that only the one gets right.
      lost: clips that only the other gets right.
    """
    changed = gained + lost
    tail = sum(math.comb(changed, few) for few in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**changed)


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
    """Of the means over the seeds, which are the last axis and of which one remains."""
    return {
        name: after[name].mean(axis=-1, keepdims=True) - before[name].mean(axis=-1, keepdims=True)
        for name in metrics.HEADLINE
    }


def _correct_rows(table: Predictions, rule: str) -> np.ndarray:
    """`[n]` bool in the order of the keys, which two tables of the same clips share."""
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
    """Refuse tables that are not of the same clips, labels and folds, whatever their seeds.

    Args:
      first_name: of `first_table`, for the message.
      first_table: a table.
      second_name: of `second_table`.
      second_table: another.

    Raises:
      UserError: they are not.
    """
    first, second = (
        table.take(table.seed == table.seed.min()) for table in (first_table, second_table)
    )
    fresh = dataclasses.replace(second, seed=np.full(len(second), first.seed.min()))
    _check_same_rows(first_name, first, second_name, fresh)


def _check_same_rows(
    first_name: str, first_table: Predictions, second_name: str, second_table: Predictions
) -> None:
    first, second = _labels_and_folds(first_table), _labels_and_folds(second_table)
    if alone := first.keys() ^ second.keys():
        at = min(alone)
        holder = first_name if at in first else second_name
        raise UserError(
            f"{first_name} and {second_name} were not tested on the same clips and seeds: {len(alone)} "
            f"are in one of them only, as clip {'/'.join(at[:3])}, seed {at[3]}, of {holder}. "
            f"{_REMEDY}"
        )
    for at, fact in first.items():
        if fact != second[at]:
            raise UserError(
                f"{first_name} and {second_name} do not agree on the clip {'/'.join(at[:3])}: label "
                f"{fact[0]} in fold {fact[1]}, and {second[at][0]} in {second[at][1]}. {_REMEDY}"
            )


def _labels_and_folds(table: Predictions) -> dict[tuple, tuple[str, str]]:
    """(label, fold) of every (dataset, subject, clip, seed)."""
    labels = [table.class_names[label] for label in table.label]
    return dict(zip(_keys(table), zip(labels, table.fold.tolist())))
