"""Onset, apex and offset as the annotation has them, held against the frames that are there."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import NamedTuple

from data_prep.common.errors import UserError


class Marks(NamedTuple):
    """Numbers of frames."""

    onset: int
    apex: int | None  # None when it is not known
    offset: int


Change = tuple[str, str, str, str]  # field, was, now, reason


def snap_marks(
    numbers: Sequence[int], onset: int | None, apex: int | None, offset: int | None
) -> tuple[Marks, list[Change]]:
    """Move marks that no frame has to the nearest frame that is there; forget an impossible apex.

    Args:
      numbers: of the frames, rising.
      onset: None is the first frame.
      apex: None is not marked.
      offset: None is the last frame.

    Returns:
      (onset, apex, offset), each the number of a frame, and what was changed.

    Raises:
      UserError: what is left between onset and offset is no movement.
    """
    first = numbers[0] if onset is None else onset
    last = numbers[-1] if offset is None else offset
    if not first < last:
        raise UserError("the onset is not before the offset")
    if last < numbers[0] or first > numbers[-1]:
        raise UserError("none of the frames from onset to offset is there")
    changes: list[Change] = []
    if apex is not None and not first <= apex <= last:
        changes.append(("apex", str(apex), "", "not between onset and offset"))
        apex = None
    there = {}
    for field, stated in (("onset", first), ("apex", apex), ("offset", last)):
        there[field] = None if stated is None else _nearest(numbers, stated)
        if there[field] != stated:
            changes.append(
                (field, str(stated), str(there[field]), "no such frame; the nearest is taken")
            )
    if there["onset"] == there["offset"]:
        raise UserError("a single frame is left from onset to offset")
    if there["apex"] == there["onset"]:
        same = str(there["apex"])
        changes.append(("apex", same, same, "it is the onset; used as it stands"))
    return Marks(**there), changes


def _nearest(numbers: Sequence[int], wanted: int) -> int:
    after = bisect.bisect_left(numbers, wanted)
    around = numbers[max(0, after - 1) : after + 1]
    return min(around, key=lambda number: abs(number - wanted))
