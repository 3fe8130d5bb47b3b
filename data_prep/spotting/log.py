"""What is kept of all that has been watched: stretches, and the spotter's signal."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterable

import numpy as np

from data_prep.spotting.found import Course, Stretch
from data_prep.spotting.spotter import Measurement


class Stretches:
    """Of what a video has consisted so far, in order and without gaps.

    Attributes:
      items: the stretches.
    """

    def __init__(self):
        self.items: list[Stretch] = []
        self._cut_pending = False

    def mark_cut(self) -> None:
        """The next frame begins a stretch, with a cut."""
        self._cut_pending = True

    def begin_face(self, number: int, window: np.ndarray, faces: int) -> None:
        """A face is followed by a new transform from this frame on."""
        self.items.append(Stretch(number, number, "face", window, faces, self._cut_pending))
        self._cut_pending = False

    def extend(self, number: int, kind: str) -> None:
        """Take the next frame; of a face it belongs to the stretch that has begun."""
        if not self.items or self.items[-1].kind != kind or self._cut_pending:
            self.items.append(Stretch(number, number, kind, cut=self._cut_pending))
            self._cut_pending = False
        else:
            self.items[-1] = dataclasses.replace(self.items[-1], last=number)

    def mark_face_lost(self, first: int, number: int) -> None:
        """There has been no face since the frame `first`, as the frame `number` shows."""
        while self.items and self.items[-1].first >= first:
            self.items.pop()
        if self.items:
            self.items[-1] = dataclasses.replace(self.items[-1], last=first - 1)
        if first < number:
            self.items.append(Stretch(first, number - 1, "no face"))


class Signal:
    """The spotter's signal, of all tracks together: 16 bytes a look."""

    def __init__(self):
        self._frame, self._movement, self._threshold = array("q"), array("f"), array("f")

    def extend(self, measurements: Iterable[Measurement]) -> None:
        """Keep some looks."""
        for look in measurements:
            self._frame.append(look.frame)
            self._movement.append(look.movement)
            self._threshold.append(look.threshold)

    def add_gap(self, number: int) -> None:
        """At this frame nothing can be measured: a track begins or ends."""
        self.extend([Measurement(number, np.nan, np.nan)])

    @property
    def course(self) -> Course:
        """The looks in order; where two tracks overlap the larger value stands."""
        frame = np.array(self._frame, np.int64)
        movement, threshold = (
            np.array(part, np.float32) for part in (self._movement, self._threshold)
        )
        order = np.lexsort((-movement, frame))  # puts NaN last
        kept = order[np.diff(frame[order], prepend=-1) > 0]
        return Course(frame[kept], movement[kept], threshold[kept])
