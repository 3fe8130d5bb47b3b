"""What an earlier pass over a video found, and how a later one is joined to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from data_prep.spotting.found import Course, Stretch
from mser_jax.predict.answers import VideoAnswer


@dataclasses.dataclass(frozen=True)
class Before:
    """What an earlier pass has found.

    Attributes:
      answer: of the part of the video that it saw.
      settled: the number of the last frame of which it knew whether an apex is there.
    """

    answer: VideoAnswer
    settled: int

    def covers(self, apex: int, near: float) -> bool:
        """Whether the pass has dealt with a movement, perhaps seen by other crops.

        Args:
          apex: the number of the movement's apex frame.
          near: apexes no more frames apart than this are of one movement.
        """
        return apex <= self.settled or any(
            abs(apex - answer.apex) <= near
            for answer in self.answer.answers
            if answer.apex <= self.settled
        )


def joined(before: Before, now: VideoAnswer) -> VideoAnswer:
    """Join what was found up to a frame with what a later pass found after it.

    Args:
      before: the earlier pass.
      now: the answer of the later one, which began no later than a frame after `before.settled`.
    """
    known, settled = before.answer, before.settled
    last = now.first + now.frames - 1
    return dataclasses.replace(
        now,
        first=known.first,
        frames=last - known.first + 1,
        answers=(*(old for old in known.answers if old.apex <= settled), *now.answers),
        stretches=_stretches(known, settled, now, last),
        course=_course(known.course, settled, now.course),
        notes=tuple(dict.fromkeys((*known.notes, *now.notes))),
    )


def _stretches(
    known: VideoAnswer, settled: int, now: VideoAnswer, last: int
) -> tuple[Stretch, ...]:
    """Join the stretches of both passes; one that both have seen goes on."""
    old = [*_within(known.stretches, known.first, settled)]
    new = [*_within(now.stretches, settled + 1, last)]
    begins = any(stretch.first == settled + 1 for stretch in now.stretches)
    if old and new and not begins and old[-1].kind == new[0].kind:
        old[-1] = dataclasses.replace(old[-1], last=new.pop(0).last)
    return (*old, *new)


def _within(stretches: Iterable[Stretch], first: int, last: int) -> Iterator[Stretch]:
    for stretch in stretches:
        start, end = max(stretch.first, first), min(stretch.last, last)
        if start <= end:
            yield dataclasses.replace(stretch, first=start, last=end)


def _course(known: Course | None, settled: int, now: Course | None) -> Course:
    assert known, "marked videos are not passed over"
    assert now
    parts = [(known, known.frame <= settled), (now, now.frame > settled)]
    return Course(
        *(
            np.concatenate([getattr(course, name)[kept] for course, kept in parts])
            for name in ("frame", "movement", "threshold")
        )
    )
