"""Batches as one integer a slot, which is short to write and to compare."""

import numpy as np

from mser_jax.data import schedule
from mser_jax.data.schedule import Batch

EMPTY = -1


def packed(batch: Batch, variants: int) -> np.ndarray:
    """Return `clip * variants + variant` of each slot, `EMPTY` for an empty one."""
    clip, variant, mask = map(np.asarray, batch)
    return np.where(mask, clip * variants + variant, EMPTY)


def unpacked(entries, variants: int) -> Batch:
    """Return the batches of entries `[..., b]`; the empty ones come last."""
    entries = np.asarray(entries)
    batches = schedule.empty_batches(*entries.shape)
    for place in np.ndindex(entries.shape[:-1]):
        filled = entries[place][entries[place] != EMPTY]
        if filled.size:
            schedule.fill_batch(batches, place, *np.divmod(filled, variants))
    return batches
