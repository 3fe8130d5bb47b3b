"""The order of an epoch: which clips, seen as which variants, a fold trains on in each step."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from mser_jax.data.folds import Fold

EMPTY = -1


def examples(fold: Fold, variants: int, mode: str) -> int:
    """How many training examples one epoch of a fold holds."""
    return len(fold.train) * (variants if mode == "expand" else 1)


def steps_per_epoch(folds: Sequence[Fold], batch_size: int, variants: int, mode: str) -> int:
    """The steps of the longest epoch; a fold with fewer clips has empty ones at the end."""
    return max(-(-examples(fold, variants, mode) // batch_size) for fold in folds)


def batch_slots(folds: Sequence[Fold], batch_size: int, variants: int, mode: str) -> int:
    """The slots of a batch: `batch_size`, or as many as the largest one fills, by whole 32.

    The batches of an epoch are equally large: of 435 clips in batches of up to 256 none has more
    than 218, and what is empty costs as much as what is filled.
    """
    counts = [examples(fold, variants, mode) for fold in folds]
    most = max(-(-count // -(-count // batch_size)) for count in counts)
    return min(batch_size, -(-most // 32) * 32)


def epoch_schedule(
    folds: Sequence[Fold],
    *,
    epoch: int,
    batch_size: int,
    variants: int,
    mode: str,
    steps: int,
    slots: int | None = None,
) -> Int[np.ndarray, "fold step batch"]:
    """The order of one epoch for every fold, each drawn from its own seed and name and the epoch.

    Args:
      folds: who trains on what.
      epoch: counted from 0.
      batch_size: clips of a batch at most; the batches of a fold differ in size by at most one.
      variants: how many variants a clip has.
      mode: 'expand' (every variant of every clip), 'sample' (one drawn a clip), 'none' (variant 0).
      steps: of the schedule, at least `steps_per_epoch`; those after a fold's own are empty.
      slots: of a batch, at least `batch_slots`; by default `batch_size`.
    """
    schedule = np.full((len(folds), steps, slots or batch_size), EMPTY, np.int32)
    for slot, fold in enumerate(folds):
        rng = np.random.default_rng([fold.seed, fold.key, epoch])
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
