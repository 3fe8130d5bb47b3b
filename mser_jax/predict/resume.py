"""The results of an earlier pass over a video, and how a later pass continues them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from data_prep.spotting.found import Course, Stretch
from mser_jax.predict.answers import VideoAnswer


@dataclasses.dataclass(frozen=True)
class ResumeState:
    """The results of an earlier pass.

    Attributes:
      answer: Answer for the part of the video that the pass saw.
      last_settled: Number of the last frame up to which the spotter's decisions are final.
    """

    answer: VideoAnswer
    last_settled: int

    def covers(self, apex: int, tolerance: float) -> bool:
        """Return whether the pass has dealt with a movement, perhaps in another crop.

        Args:
          apex: Number of the movement's apex frame.
          tolerance: Largest distance in frames between two apexes of the same movement.
        """
        return apex <= self.last_settled or any(
            abs(apex - answer.apex) <= tolerance
            for answer in self.answer.answers
            if answer.apex <= self.last_settled
        )


def join(earlier: ResumeState, later: VideoAnswer) -> VideoAnswer:
    """Join an earlier pass's results up to a frame with a later pass's from there.

    Args:
      earlier: State of the earlier pass.
      later: Answer of the later pass, which began at most one frame after `earlier.last_settled`.
    """
    before, settled = earlier.answer, earlier.last_settled
    last = later.first + later.frames - 1
    return dataclasses.replace(
        later,
        first=before.first,
        frames=last - before.first + 1,
        answers=(*(old for old in before.answers if old.apex <= settled), *later.answers),
        stretches=_join_stretches(before, settled, later, last),
        course=_join_courses(before.course, settled, later.course),
        notes=tuple(dict.fromkeys((*before.notes, *later.notes))),
    )


def _join_stretches(
    earlier: VideoAnswer, last_settled: int, later: VideoAnswer, last: int
) -> tuple[Stretch, ...]:
    """Join the stretches of both passes. A stretch that both have seen continues."""
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
    assert earlier, "a marked video has no course and is not resumed"
    assert later
    parts = [(earlier, earlier.frame <= last_settled), (later, later.frame > last_settled)]
    return Course(
        *(
            np.concatenate([getattr(course, name)[mask] for course, mask in parts])
            for name in ("frame", "movement", "threshold")
        )
    )
