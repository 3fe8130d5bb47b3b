"""Onset, apex and offset of the annotation, matched with the frames that exist."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

from data_prep.common.errors import UserError


class Marks(NamedTuple):
    """Frame numbers of onset, apex and offset."""

    onset: int
    apex: int | None  # None if unknown.
    offset: int


Change = tuple[str, str, str, str]  # Field, old value, new value, reason.


def snap_marks(
    numbers: Sequence[int], onset: int | None, apex: int | None, offset: int | None
) -> tuple[Marks, list[Change]]:
    """Move marks without a frame to the nearest frame; drop an impossible apex.

    Args:
      numbers: Frame numbers, rising.
      onset: Stated onset; None means the first frame.
      apex: Stated apex; None means not marked.
      offset: Stated offset; None means the last frame.

    Returns:
      (marks, changes): the marks, each the number of an existing frame, and what was changed.

    Raises:
      UserError: No movement of at least two frames is left between onset and offset.
    """
    first = numbers[0] if onset is None else onset
    last = numbers[-1] if offset is None else offset
    if not first < last:
        raise UserError("the onset is not before the offset")
    if last < numbers[0] or first > numbers[-1]:
        raise UserError("none of the frames from onset to offset exists")
    changes: list[Change] = []
    if apex is not None and not first <= apex <= last:
        changes.append(("apex", str(apex), "", "not between onset and offset"))
        apex = None
    snapped = {}
    for field, stated in (("onset", first), ("apex", apex), ("offset", last)):
        snapped[field] = None if stated is None else _nearest(numbers, stated)
        if snapped[field] != stated:
            changes.append(
                (field, str(stated), str(snapped[field]), "no such frame; the nearest is used")
            )
    if snapped["onset"] == snapped["offset"]:
        raise UserError("a single frame is left from onset to offset")
    if snapped["apex"] == snapped["onset"]:
        number = str(snapped["apex"])
        changes.append(("apex", number, number, "equals the onset; used as stated"))
    return Marks(**snapped), changes


def _nearest(numbers: Sequence[int], target: int) -> int:
    index = bisect.bisect_left(numbers, target)
    neighbours = numbers[max(0, index - 1) : index + 1]
    return min(neighbours, key=lambda number: abs(number - target))
