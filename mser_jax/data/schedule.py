"""The order of an epoch: which clips, seen as which variants, a fold trains on in each step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mser_jax.data.folds import Fold


class Batch(NamedTuple):
    """The clips of a step; a schedule has leading axes `[fold, step]` on every leaf.

    Attributes:
      clip: `[b]` int32, index of the clip. Empty slots repeat the batch's first clip: a masked NaN
        would still poison a sum, since 0 * NaN is NaN.
      variant: `[b]` int32, index of the variant that the clip is seen as.
      mask: `[b]` bool, False where the slot is empty.
    """

    clip: Any
    variant: Any
    mask: Any


def empty_batches(*shape: int) -> Batch:
    """Return batches of `shape` without a clip; their slots point at clip 0."""
    return Batch(np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, bool))


def fill_batch(
    batches: Batch, index: tuple[int, ...], clip: np.ndarray, variant: np.ndarray
) -> None:
    """Put clips into the batch at `index`; its empty slots repeat the first of them.

    Args:
      batches: from `empty`, changed in place.
      index: the leading indices of one batch, as (fold, step).
      clip: indices of clips, at least one and at most as many as the batch has slots.
      variant: of each.
    """
    count = len(clip)
    batches.clip[index] = clip[0]
    batches.clip[index][:count] = clip
    batches.variant[index] = variant[0]
    batches.variant[index][:count] = variant
    batches.mask[index][:count] = True


def count_examples(fold: Fold, variants: int, mode: str) -> int:
    """Count the training examples of one epoch of a fold."""
    return len(fold.train) * (variants if mode == "expand" else 1)


def steps_per_epoch(folds: Sequence[Fold], batch_size: int, variants: int, mode: str) -> int:
    """Count the steps of the longest epoch; a fold with fewer clips has empty ones at the end."""
    return max(-(-count_examples(fold, variants, mode) // batch_size) for fold in folds)


def batch_slots(folds: Sequence[Fold], batch_size: int, variants: int, mode: str) -> int:
    """Return the slots of a batch: `batch_size`, or those of the largest batch, by whole 32.

    The batches of an epoch are equally large: of 435 clips in batches of up to 256 none has more
    than 218, and what is empty costs as much as what is filled.
    """
    counts = [count_examples(fold, variants, mode) for fold in folds]
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
) -> Batch:
    """Draw the order of one epoch for every fold, each from its own seed and name and the epoch.

    Args:
      folds: who trains on what.
      epoch: counted from 0.
      batch_size: clips of a batch at most; the batches of a fold differ in size by at most one.
      variants: how many variants a clip has.
      mode: 'expand' (every variant of every clip), 'sample' (one drawn a clip), 'none' (variant 0).
      steps: of the schedule, at least `steps_per_epoch`; those after a fold's own are empty.
      slots: of a batch, at least `batch_slots`; by default `batch_size`.

    Returns:
      Batches `[fold, step, slot]`.
    """
    schedule = empty_batches(len(folds), steps, slots or batch_size)
    for number, fold in enumerate(folds):
        rng = np.random.default_rng([fold.seed, fold.key, epoch])
        clip, variant = _examples(fold, variants, mode, rng)
        order = rng.permutation(len(clip))
        for step, chosen in enumerate(np.array_split(order, -(-len(order) // batch_size))):
            fill_batch(schedule, (number, step), clip[chosen], variant[chosen])
    return schedule


def _examples(
    fold: Fold, variants: int, mode: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """List the clip and the variant of every example of an epoch."""
    if mode == "expand":
        return np.repeat(fold.train, variants), np.tile(np.arange(variants), len(fold.train))
    if mode == "sample":
        return fold.train, rng.integers(variants, size=len(fold.train))
    return fold.train, np.zeros(len(fold.train), int)
