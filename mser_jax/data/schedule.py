"""The order of an epoch: the clips, and their variants, that a fold trains on in each step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mser_jax.data.folds import Fold


class Batch(NamedTuple):
    """The clips of a step; a schedule has leading axes `[fold, step]` on every leaf.

    Attributes:
      clip: `[b]` int32, index of each clip. Empty slots repeat the batch's first clip: a masked NaN
        would still poison a sum, since 0 * NaN is NaN.
      variant: `[b]` int32, index of the variant that each clip is seen as.
      mask: `[b]` bool, False where the slot is empty.
    """

    clip: Any
    variant: Any
    mask: Any


def empty_batches(*shape: int) -> Batch:
    """Return batches of `shape` without clips; their slots point at clip 0."""
    return Batch(np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, bool))


def fill_batch(
    batches: Batch, index: tuple[int, ...], clip: np.ndarray, variant: np.ndarray
) -> None:
    """Put clips into the batch at `index`; its empty slots repeat the first of them.

    Args:
      batches: Batches from `empty_batches`, changed in place.
      index: Leading indices of the batch, as (fold, step).
      clip: Indices of the clips, at least one and at most as many as the batch has slots.
      variant: Variant index of each clip.
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
    """Count the steps of the longest epoch.

    Folds with fewer clips have empty steps at the end.
    """
    return max(-(-count_examples(fold, variants, mode) // batch_size) for fold in folds)


def batch_slots(folds: Sequence[Fold], batch_size: int, variants: int, mode: str) -> int:
    """Return the number of slots that the largest batch needs, at most `batch_size`.

    It is a multiple of 32 if it is less than `batch_size`. The batches of an epoch are equally
    large: of 435 clips in batches of up to 256, no batch has more than 218. Empty slots cost as
    much as filled ones.
    """
    counts = [count_examples(fold, variants, mode) for fold in folds]
    max_clips = max(-(-count // -(-count // batch_size)) for count in counts)
    return min(batch_size, -(-max_clips // 32) * 32)


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
    """Draw the order of one epoch for every fold.

    The order of a fold depends only on its seed, its name and the epoch.

    Args:
      folds: Folds that train.
      epoch: Epoch, counted from 0.
      batch_size: Maximum number of clips of a batch. The batches of a fold differ in size by at
        most one.
      variants: Number of variants of a clip.
      mode: 'expand' (every variant of every clip), 'sample' (one random variant per clip) or 'none'
        (variant 0).
      steps: Number of steps of the schedule, at least `steps_per_epoch`. Those after a fold's own
        steps are empty.
      slots: Number of slots of a batch, at least `batch_slots`; `batch_size` by default.

    Returns:
      Batches `[fold, step, slot]`.
    """
    schedule = empty_batches(len(folds), steps, slots or batch_size)
    for fold_index, fold in enumerate(folds):
        rng = np.random.default_rng([fold.seed, fold.key, epoch])
        clip, variant = _examples(fold, variants, mode, rng)
        order = rng.permutation(len(clip))
        for step, rows in enumerate(np.array_split(order, -(-len(order) // batch_size))):
            fill_batch(schedule, (fold_index, step), clip[rows], variant[rows])
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
