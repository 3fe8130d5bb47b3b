"""The protocols of evaluation: what a fold leaves out, and which clips are tested at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from data_prep.common import check
from data_prep.common.errors import UserError
from mser_jax.data import folds as folding
from mser_jax.data.folds import Fold

if TYPE_CHECKING:
    from mser_jax.data.dataset import Dataset

# What a fold of each has wholly on one side: it is tested, or trained on.
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
    """The folds of a protocol, checked: nothing that a fold tests is in its training.

    'loso': each subject is left out once;
    'leave_one_sample_out': each clip, while its subject's other clips are trained on;
    'k_fold': the subjects in `parts` parts, of which each is left out once;
    'hold_out': one database is tested, by a training on all others, which are not tested;
    'cross_database': the same for every database in turn: "train on two, test on the third". The
      field calls it hold-out database evaluation (HDE).

    A subject is (dataset, subject): the same name in two databases is two people.

    Args:
      protocol: one of `PROTOCOLS`.
      dataset: the clips and their names.
      parts: of 'k_fold'.
      held_out: of 'hold_out', the name of the database that is tested.
      seed: of the division of 'k_fold'.

    Raises:
      UserError: there are too few subjects, clips or databases, or no such database.
    """
    units = {"subjects": dataset.groups, "clips": dataset.names, "databases": dataset.dataset}
    of_clip = list(map(str, units[UNITS[protocol]]))
    there = sorted(set(of_clip))
    _check_enough_units(protocol, there, parts)
    if protocol == "hold_out" and held_out not in there:
        raise UserError(
            check.unknown_message("value of config.evaluation.held_out", held_out, there)
        )
    tested = np.full(len(of_clip), True)
    if protocol == "loso":
        folds = folding.loso(dataset.groups)
    elif protocol == "leave_one_sample_out":
        folds = folding.leave_one_sample_out(dataset.names)
    elif protocol == "k_fold":
        folds = folding.k_fold(dataset.groups, parts, seed)
    elif protocol == "hold_out":
        folds = folding.leave_databases_out(of_clip, [held_out])
        tested = np.asarray(of_clip) == held_out
    else:
        folds = folding.leave_databases_out(of_clip, there)
    folding.check_no_leak(folds, of_clip, np.flatnonzero(tested))
    return folds


def _check_enough_units(protocol: str, units: list[str], parts: int) -> None:
    kind, least = UNITS[protocol], parts if protocol == "k_fold" else 2
    if len(units) >= least:
        return
    found = f"{len(units)} ({', '.join(units)})" if kind == "databases" else len(units)
    asked = f" in config.evaluation.folds {parts}" if protocol == "k_fold" else ""
    other = "fewer folds" if protocol == "k_fold" else "another config.evaluation.protocol"
    raise UserError(
        f"The protocol {protocol}{asked} needs at least {least} {kind}; the data set has {found}. "
        f"Fix: a data set with more of them, or {other}."
    )
