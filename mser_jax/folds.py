"""Who trains on what: the folds, the order of an epoch, and the check that nothing leaks.

An index schedule is int32 `[step, batch]`; an entry is `clip * variants + variant`, or -1 for an
empty slot.
"""

import dataclasses
import zlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

EMPTY = -1


@dataclasses.dataclass(frozen=True)
class Fold:
    """One training: the clips it learns from and those it is scored on.

    Attributes:
      name: 'dataset/subject' under LOSO; the seed of everything random in the fold comes from it,
        so that a result does not depend on which other folds run beside.
      train: indices of clips.
      test: indices of clips.
    """

    name: str
    train: np.ndarray
    test: np.ndarray

    @property
    def key(self) -> int:
        """A number that the name alone decides."""
        return zlib.crc32(self.name.encode())


def loso(groups: Sequence[str]) -> list[Fold]:
    """Leave one subject out.

    Args:
      groups: 'dataset/subject' of every clip.

    Returns:
      One fold for each group, in alphabetical order.
    """
    names = np.asarray(groups)
    return [
        Fold(str(name), np.flatnonzero(names != name), np.flatnonzero(names == name))
        for name in np.unique(names)
    ]


def leave_one_sample_out(names: Sequence[str]) -> list[Fold]:
    """Leave one clip out: eq. 4.5 as the paper writes it.

    A subject's other clips are then in the training set, so figures from it are not comparable with
    LOSO.
    """
    every = np.arange(len(names))
    return [
        Fold(name, every[every != clip], every[clip : clip + 1]) for clip, name in enumerate(names)
    ]


def check_no_leak(folds: Sequence[Fold], groups: Sequence[str]) -> None:
    """Refuse folds whose training and test clips share a subject, or that test a clip twice.

    Raises:
      ValueError: names the fold.
    """
    names = np.asarray(groups)
    for fold in folds:
        shared = np.intersect1d(names[fold.train], names[fold.test])
        if shared.size:
            raise ValueError(f"fold {fold.name!r} trains on subjects that it tests: {list(shared)}")
    tested = np.concatenate([fold.test for fold in folds])
    if not np.array_equal(np.sort(tested), np.arange(len(names))):
        raise ValueError("the folds do not test every clip exactly once")


def examples(fold: Fold, variants: int, mode: str) -> int:
    """How many training examples one epoch of a fold holds."""
    return len(fold.train) * (variants if mode == "expand" else 1)


def steps_per_epoch(folds: Sequence[Fold], batch_size: int, variants: int, mode: str) -> int:
    """The steps of the longest epoch; a fold with fewer clips has empty ones at the end."""
    return max(-(-examples(fold, variants, mode) // batch_size) for fold in folds)


def epoch_schedule(
    folds: Sequence[Fold], *, epoch: int, seed: int, batch_size: int, variants: int, mode: str
) -> Int[np.ndarray, "fold step batch"]:
    """The order of one epoch for every fold, each drawn from the seed, its own name and the epoch.

    Args:
      folds: who trains on what.
      epoch: counted from 0.
      seed: of the run.
      batch_size: slots of a batch; the batches of a fold differ in size by at most one.
      variants: how many variants a clip has.
      mode: 'expand' (every variant of every clip), 'sample' (one drawn a clip), 'none' (variant 0).
    """
    steps = steps_per_epoch(folds, batch_size, variants, mode)
    schedule = np.full((len(folds), steps, batch_size), EMPTY, np.int32)
    for slot, fold in enumerate(folds):
        rng = np.random.default_rng([seed, fold.key, epoch])
        order = rng.permutation(_examples(fold, variants, mode, rng))
        batches = np.array_split(order, -(-len(order) // batch_size))
        for step, batch in enumerate(batches):
            schedule[slot, step, : len(batch)] = batch
    return schedule


def _examples(fold: Fold, variants: int, mode: str, rng: np.random.Generator) -> np.ndarray:
    first = fold.train * variants
    if mode == "expand":
        return (first[:, None] + np.arange(variants)).ravel()
    if mode == "sample":
        return first + rng.integers(variants, size=len(first))
    return first
