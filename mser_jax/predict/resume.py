"""A pass over a video, joined with what an earlier one has found."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from data_prep.common.errors import UserError
from data_prep.spotting.found import Course, Spotted, Stretch
from data_prep.spotting.watcher import SAME, Watcher
from data_prep.stages import landmarks
from data_prep.video.stream import Stream
from mser_jax.predict.answers import Answer, VideoAnswer
from mser_jax.predict.model import Classified, Model
from mser_jax.predict.request import Asked

SAVED_EVERY = 30.0  # s


@dataclasses.dataclass(frozen=True)
class Before:
    """What an earlier pass has found.

    Attributes:
      answer: of the part of the video that it saw.
      settled: the number of the last frame of which it knew whether an apex is there.
    """

    answer: VideoAnswer
    settled: int


@dataclasses.dataclass(frozen=True)
class Keep:
    """Takes what is found while the pass goes on: each movement, and all of it now and then."""

    movement: Callable[[Classified], None]
    state: Callable[[Before], None]


class Pass:
    """Takes the frames of a video in order, and answers what is spotted in them.

    Args:
      model: that is asked.
      asked: the video.
      stream: of its frames, which may begin later than the video.
      before: what is known already; None where nothing is.
      keep: takes what is found.
    """

    def __init__(
        self, model: Model, asked: Asked, stream: Stream, before: Before | None, keep: Keep
    ):
        self._model, self._asked, self._stream, self._keep = model, asked, stream, keep
        self._before, self._settled = before, -1 if before is None else before.settled
        self._watcher: Watcher | None = None
        self._new: list[Answer] = []
        self._notes: list[str] = []
        self._safe, self._saved = self._settled, time.monotonic()

    def see(self, number: int, frame: np.ndarray | None) -> None:
        """Take the next frame."""
        if self._watcher is None:
            self._watcher = self._begin(number)
        self._take(self._watcher.see(frame))
        self._safe = self._watcher.settled  # now that what is settled is classified as well
        if time.monotonic() - self._saved > SAVED_EVERY:
            self.save()

    def end(self) -> None:
        """No frame follows."""
        if self._watcher is not None:
            self._take(self._watcher.end())

    def save(self) -> None:
        """Keep what is settled."""
        if self._watcher is not None and self._safe > self._settled:
            self._keep.state(Before(self.found(), self._safe))
        self._saved = time.monotonic()

    def found(self) -> VideoAnswer:
        """All that is known by now."""
        if self._watcher is None:
            raise UserError(f"{self._asked.path}: no frame can be read. Is the file whole?")
        now = dataclasses.replace(
            self._model.answered(self._watcher, self._new, self._stream.fps),
            source=str(self._asked.path),
            notes=(*self._stream.notes, *self._watcher.notes, *self._notes),
        )
        return now if self._before is None else joined(self._before, now)

    def _begin(self, number: int) -> Watcher:
        points = landmarks.read(self._asked.landmarks, 0) if self._asked.landmarks else None
        return Watcher(
            self._model.recipe,
            self._stream.fps,
            landmarks=points,
            name=self._asked.path.stem,
            first=number,
        )

    def _take(self, spotted: Iterable[Spotted]) -> None:
        """Classify what an earlier pass has not; a movement that cannot be is told."""
        assert self._watcher is not None
        first = self._watcher.first if self._before is None else self._before.answer.first
        for each in spotted:
            apex = each.clip.first + (each.clip.apex or 0)
            if apex <= self._settled or self._is_known(apex):
                continue
            try:
                classified = self._model.spotted(each, first)
            except UserError as error:
                self._notes.append(f"The movement at frame {apex} has no answer: {error}")
                continue
            self._new.append(classified.answer)
            self._keep.movement(classified)

    def _is_known(self, apex: int) -> bool:
        """Whether the earlier pass has this movement; it may have seen it by other crops."""
        known = () if self._before is None else self._before.answer.answers
        near = SAME * self._stream.fps
        return any(abs(apex - e.apex) <= near for e in known if e.apex <= self._settled)


def joined(before: Before, now: VideoAnswer) -> VideoAnswer:
    """What was found up to a frame, and by a later pass after it.

    Args:
      before: the earlier pass.
      now: the later one, which began no later than a frame after `before.settled`.
    """
    known, settled = before.answer, before.settled
    last = now.first + now.frames - 1
    return dataclasses.replace(
        now,
        first=known.first,
        frames=last - known.first + 1,
        answers=(*(each for each in known.answers if each.apex <= settled), *now.answers),
        stretches=_stretches(known, settled, now, last),
        course=_course(known.course, settled, now.course),
        notes=tuple(dict.fromkeys((*known.notes, *now.notes))),
    )


def _stretches(
    known: VideoAnswer, settled: int, now: VideoAnswer, last: int
) -> tuple[Stretch, ...]:
    """Those of both passes; one that both have seen goes on."""
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
