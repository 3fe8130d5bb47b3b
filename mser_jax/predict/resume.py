"""What an earlier pass over a video found, and how a later one is joined to it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from data_prep.spotting.found import Course, Stretch
from mser_jax.predict.answers import VideoAnswer


@dataclasses.dataclass(frozen=True)
class ResumeState:
    """What an earlier pass has found.

    Attributes:
      answer: of the part of the video that it saw.
      last_settled: the number of the last frame of which it knew whether an apex is there.
    """

    answer: VideoAnswer
    last_settled: int

    def covers(self, apex: int, tolerance: float) -> bool:
        """Whether the pass has dealt with a movement, perhaps seen by other crops.

        Args:
          apex: the number of the movement's apex frame.
          tolerance: apexes no more frames apart than this are of one movement.
        """
        return apex <= self.last_settled or any(
            abs(apex - answer.apex) <= tolerance
            for answer in self.answer.answers
            if answer.apex <= self.last_settled
        )


def join(earlier: ResumeState, later: VideoAnswer) -> VideoAnswer:
    """Join what was found up to a frame with what a later pass found after it.

    Args:
      earlier: the earlier pass.
      later: the answer of the later one, which began no later than a frame after `before.settled`.
    """
    known, settled = earlier.answer, earlier.last_settled
    last = later.first + later.frames - 1
    return dataclasses.replace(
        later,
        first=known.first,
        frames=last - known.first + 1,
        answers=(*(old for old in known.answers if old.apex <= settled), *later.answers),
        stretches=_join_stretches(known, settled, later, last),
        course=_join_courses(known.course, settled, later.course),
        notes=tuple(dict.fromkeys((*known.notes, *later.notes))),
    )


def _join_stretches(
    earlier: VideoAnswer, last_settled: int, later: VideoAnswer, last: int
) -> tuple[Stretch, ...]:
    """Join the stretches of both passes; one that both have seen goes on."""
    old = [*_restrict(earlier.stretches, earlier.first, last_settled)]
    new = [*_restrict(later.stretches, last_settled + 1, last)]
    begins = any(stretch.first == last_settled + 1 for stretch in later.stretches)
    if old and new and not begins and old[-1].kind == new[0].kind:
        old[-1] = dataclasses.replace(old[-1], last=new.pop(0).last)
    return (*old, *new)


def _restrict(stretches: Iterable[Stretch], first: int, last: int) -> Iterator[Stretch]:
    for stretch in stretches:
        start, end = max(stretch.first, first), min(stretch.last, last)
        if start <= end:
            yield dataclasses.replace(stretch, first=start, last=end)


def _join_courses(earlier: Course | None, last_settled: int, later: Course | None) -> Course:
    assert earlier, "marked videos are not passed over"
    assert later
    parts = [(earlier, earlier.frame <= last_settled), (later, later.frame > last_settled)]
    return Course(
        *(
            np.concatenate([getattr(course, name)[kept] for course, kept in parts])
            for name in ("frame", "movement", "threshold")
        )
    )
