"""The evaluation protocols: what a fold leaves out, and which clips are tested at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data_prep.common import check
from data_prep.common.errors import UserError
from mser_jax.data import folds as folding
from mser_jax.data.folds import Fold

if TYPE_CHECKING:
    from mser_jax.data.dataset import Dataset

# The unit of each protocol: a fold either tests all clips of a unit or trains on all of them.
UNITS = {
    "loso": "subjects",
    "leave_one_sample_out": "clips",
    "k_fold": "subjects",
    "hold_out": "databases",
    "cross_database": "databases",
}
PROTOCOLS = tuple(UNITS)


def make_folds(
    protocol: str, dataset: Dataset, *, parts: int, held_out: str, seed: int
) -> list[Fold]:
    """Make the folds of a protocol, and check that none trains on what it tests.

    'loso': each subject is left out once.
    'leave_one_sample_out': each clip is left out once; the subject's other clips are trained on.
    'k_fold': the subjects are divided into `parts` parts, and each part is left out once.
    'hold_out': one database is tested; all others are trained on and not tested.
    'cross_database': as 'hold_out' for every database in turn ("train on two, test on the third").
      The field calls it hold-out database evaluation (HDE).

    A subject is (dataset, subject): the same name in two databases means two people.

    Args:
      protocol: One of `PROTOCOLS`.
      dataset: Clips and their names.
      parts: Number of parts, for 'k_fold'.
      held_out: Name of the database to test, for 'hold_out'.
      seed: Seed of the division, for 'k_fold'.

    Raises:
      UserError: There are too few subjects, clips or databases, or there is no such database.
    """
    units = {"subjects": dataset.groups, "clips": dataset.names, "databases": dataset.dataset}
    clip_units = list(map(str, units[UNITS[protocol]]))
    unit_names = sorted(set(clip_units))
    _check_enough_units(protocol, unit_names, parts)
    if protocol == "hold_out" and held_out not in unit_names:
        raise UserError(
            check.unknown_message("value of config.evaluation.held_out", held_out, unit_names)
        )
    test_mask = np.full(len(clip_units), True)
    if protocol == "loso":
        folds = folding.loso(dataset.groups)
    elif protocol == "leave_one_sample_out":
        folds = folding.leave_one_sample_out(dataset.names)
    elif protocol == "k_fold":
        folds = folding.k_fold(dataset.groups, parts, seed)
    elif protocol == "hold_out":
        folds = folding.leave_databases_out(clip_units, [held_out])
        test_mask = np.asarray(clip_units) == held_out
    else:
        folds = folding.leave_databases_out(clip_units, unit_names)
    folding.check_no_leak(folds, clip_units, np.flatnonzero(test_mask))
    return folds


def _check_enough_units(protocol: str, units: list[str], parts: int) -> None:
    kind, minimum = UNITS[protocol], parts if protocol == "k_fold" else 2
    if len(units) >= minimum:
        return
    count = f"{len(units)} ({', '.join(units)})" if kind == "databases" else len(units)
    with_folds = f" with config.evaluation.folds {parts}" if protocol == "k_fold" else ""
    alternative = "fewer folds" if protocol == "k_fold" else "another protocol"
    raise UserError(
        f"config.evaluation.protocol: {protocol}{with_folds} needs at least {minimum} {kind}, but "
        f"the data set has {count}. Fix: use a data set with more {kind}, or {alternative}."
    )
