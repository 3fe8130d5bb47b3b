"""Record of a watched video: its stretches and the spotter's signal."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Iterable

import numpy as np

from data_prep.spotting.found import Course, Stretch
from data_prep.spotting.spotter import Measurement


class Stretches:
    """Stretches of a video so far, in order and without gaps.

    Attributes:
      items: Stretches so far.
    """

    def __init__(self):
        self.items: list[Stretch] = []
        self._cut_pending = False

    def mark_cut(self) -> None:
        """Mark the next frame as the first one after a cut."""
        self._cut_pending = True

    def begin_face(self, number: int, window: np.ndarray, faces: int) -> None:
        """Begin a stretch in which a face is cropped by a new transform.

        Args:
          number: Number of the first frame.
          window: Corners of the network's window, as in `Stretch`.
          faces: Number of faces in this frame.
        """
        self.items.append(Stretch(number, number, "face", window, faces, self._cut_pending))
        self._cut_pending = False

    def extend(self, number: int, kind: str) -> None:
        """Add the next frame to the last stretch, or begin a new one.

        Args:
          number: Number of the frame.
          kind: Kind of the frame, as in `Stretch`. A stretch of kind 'face' must have been begun
            with `begin_face`.
        """
        if not self.items or self.items[-1].kind != kind or self._cut_pending:
            self.items.append(Stretch(number, number, kind, cut=self._cut_pending))
            self._cut_pending = False
        else:
            self.items[-1] = dataclasses.replace(self.items[-1], last=number)

    def mark_face_lost(self, first: int, number: int) -> None:
        """Replace the stretches since a frame by one without a face.

        Args:
          first: Number of the first frame without a face.
          number: Number of the current frame, in which the face was not found.
        """
        while self.items and self.items[-1].first >= first:
            self.items.pop()
        if self.items:
            self.items[-1] = dataclasses.replace(self.items[-1], last=first - 1)
        if first < number:
            self.items.append(Stretch(first, number - 1, "no face"))


class Signal:
    """Signal of the spotter over all tracks, 16 bytes per measurement."""

    def __init__(self):
        self._frame, self._movement, self._threshold = array("q"), array("f"), array("f")

    def extend(self, measurements: Iterable[Measurement]) -> None:
        """Append measurements."""
        for measurement in measurements:
            self._frame.append(measurement.frame)
            self._movement.append(measurement.movement)
            self._threshold.append(measurement.threshold)

    def add_gap(self, number: int) -> None:
        """Append a gap at a frame where a track begins or ends."""
        self.extend([Measurement(number, np.nan, np.nan)])

    @property
    def course(self) -> Course:
        """Measurements in order of their frames; the larger one where two tracks overlap."""
        frame = np.array(self._frame, np.int64)
        movement, threshold = (
            np.array(values, np.float32) for values in (self._movement, self._threshold)
        )
        order = np.lexsort((-movement, frame))  # NaN sorts last within a frame.
        largest = order[np.diff(frame[order], prepend=-1) > 0]
        return Course(frame[largest], movement[largest], threshold[largest])
