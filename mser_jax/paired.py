"""Two tables of predictions of the same clips: what one answers better than the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from data_prep.errors import UserError
from mser_jax import metrics, select
from mser_jax.table import Predictions

_REMEDY = "Remedy: run both on the same prepared clips, with the same seed and protocol."


def compare(
    tables: Mapping[str, Predictions], without: str, with_: str, rule: str
) -> dict[str, Any]:
    """The scores of `with_` less those of `without`, clip by clip on the same clips.

    The interval is of the difference under resampling of the subjects, the same resamples for both
    tables (`metrics.bootstrap`). McNemar's test takes clips for independent, which those of one
    subject are not, so that p tends to be too small; the interval allows for it. With few subjects
    a percentile interval tends to be too narrow.

    Args:
      tables: the predictions, by the names that messages use.
      without: name of the table that is compared with.
      with_: name of the table that is compared.
      rule: one of `select.RULES`, for both.

    Returns:
      without, with: the names;
      difference: of accuracy, uf1 and uar, mean over the seeds;
      interval: as `metrics.bootstrap` returns it, of these differences;
      gained, lost: how many clips only `with_`, or only `without`, gets right (of all seeds);
      mcnemar_p: exact, two-sided; None with several seeds, where a clip would count several times.

    Raises:
      UserError: the tables do not hold the same clips, labels, folds and seeds; a class has no
        clip; or no such rule.
    """
    one, other = tables[without], tables[with_]
    _refuse_others(without, one, with_, other)
    before, after = (metrics.by_subject(table, rule) for table in (one, other))
    gained, lost = _discordant(one, other, rule)
    return {
        "without": without,
        "with": with_,
        "difference": {
            name: float(values.mean())
            for name, values in _difference(_pooled(before), _pooled(after)).items()
        },
        "interval": metrics.intervals(
            _difference(metrics.resampled(before), metrics.resampled(after))
        ),
        "gained": gained,
        "lost": lost,
        "mcnemar_p": mcnemar(gained, lost) if len(before) == 1 else None,
    }


def mcnemar(gained: int, lost: int) -> float:
    """The exact p-value of McNemar's test, two-sided: of a fair coin for each changed clip.

    Args:
      gained: clips that only the one gets right.
      lost: clips that only the other gets right.
    """
    changed = gained + lost
    tail = sum(math.comb(changed, few) for few in range(min(gained, lost) + 1))
    return min(1.0, 2 * tail / 2**changed)


def _pooled(counts: np.ndarray) -> dict[str, np.ndarray]:
    return metrics.summary(counts.sum(axis=1))


def _difference(
    before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    return {name: after[name] - before[name] for name in metrics.HEADLINE}


def _discordant(one: Predictions, other: Predictions, rule: str) -> tuple[int, int]:
    before, after = (_right(table, rule) for table in (one, other))
    return int(np.sum(after & ~before)), int(np.sum(before & ~after))


def _right(table: Predictions, rule: str) -> np.ndarray:
    """`[n]` bool in the order of the keys, which two tables of the same clips share."""
    answer = select.choose(table, rule)[0].argmax(axis=1)
    keys = _keys(table)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    return (answer == table.label)[order]


def _keys(table: Predictions) -> list[tuple]:
    columns = (table.dataset, table.subject, table.clip, table.seed)
    return list(zip(*(column.tolist() for column in columns)))


def _refuse_others(name: str, one: Predictions, other_name: str, other: Predictions) -> None:
    first, second = _facts(one), _facts(other)
    if alone := first.keys() ^ second.keys():
        at = min(alone)
        holder = name if at in first else other_name
        raise UserError(
            f"{name} and {other_name} were not tested on the same clips and seeds: {len(alone)} "
            f"are in one of them only, as clip {'/'.join(at[:3])}, seed {at[3]}, of {holder}. "
            f"{_REMEDY}"
        )
    for at, fact in first.items():
        if fact != second[at]:
            raise UserError(
                f"{name} and {other_name} do not agree on the clip {'/'.join(at[:3])}: label "
                f"{fact[0]} in fold {fact[1]}, and {second[at][0]} in {second[at][1]}. {_REMEDY}"
            )


def _facts(table: Predictions) -> dict[tuple, tuple[str, str]]:
    """(label, fold) of every (dataset, subject, clip, seed)."""
    labels = [table.class_names[label] for label in table.label]
    return dict(zip(_keys(table), zip(labels, table.fold.tolist())))
