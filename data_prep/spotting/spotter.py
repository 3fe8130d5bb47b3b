"""Spotting of movements that rise and fall, in one pass over the frames of a face.

At every moment the face is compared with itself a quarter of a second earlier and a quarter of a
second later. At the peak of a movement, the way back to the earlier face and the way on to the
later face are the same. While a face moves steadily, the two ways are opposite. When it starts or
stops, one of them is zero. The signal is therefore the projection of one way on the other, divided
by the longer of the two. Unlike a signal made of distances alone, it has no side peaks.

The signal is measured between *looks*: a look is a frame, or the mean of a few consecutive frames
of a fast camera.

benchmarks/README.md reports how many of the movements in synthetic videos are found.

References:
  Shreve et al., "Macro- and micro-expression spotting in long videos using spatio-temporal strain",
    FG 2011: spotting by the optical flow's peaks over a long video.
  Li et al., "Towards reading hidden emotions: a comparative study of spontaneous micro-expression
    spotting and recognition methods", IEEE TAC 2018: the difference of a frame from the mean of
    those half an interval before and after.
"""

from __future__ import annotations

import collections
import dataclasses
from array import array

import numpy as np

from data_prep.spotting.marks import marks
from data_prep.spotting.moves import FaceMotion, Move

MAX_LOOK_RATE = 60.0  # Looks per second. The frames of a faster camera are averaged in groups.
LOOK_INTERVAL = 0.25  # s between a look and those that it is compared with
REACH = 0.5  # s on either side of an apex that are searched for onset and offset
MIN_PEAK_DISTANCE = 0.25  # s; of two peaks that are closer than this, only the larger is kept.
# A peak must exceed three values: FLOOR px of the downscaled crop; FACTOR times the LEVEL_QUANTILE
# quantile of the signal in the last LEVEL_SECONDS; and HEAD_FACTOR times the head's own movement at
# that moment, since some of it always remains. FLOOR, FACTOR and LEVEL_QUANTILE were chosen on
# synthetic videos (seeds 611 and 612, at 100 and 33 frames per second) for the best F1 without a
# false alarm in the videos that have no expression.
FLOOR = 0.05
FACTOR, LEVEL_QUANTILE, LEVEL_SECONDS = 4.0, 0.75, 20.0
HEAD_FACTOR = 0.05
PRIOR_SECONDS = 1.0  # s of a signal at the floor that are assumed before the first frame


@dataclasses.dataclass(frozen=True)
class Peak:
    """A movement that rose and fell.

    Attributes:
      onset: Frame number of the onset.
      apex: Frame number of the apex.
      offset: Frame number of the offset.
      movement: Size at the apex, px of the crop, root mean square over the face.
    """

    onset: int
    apex: int
    offset: int
    movement: float


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The signal at one frame.

    Attributes:
      frame: Frame number.
      movement: Signal, px of the crop.
      threshold: Value that a peak must exceed, px of the crop.
    """

    frame: int
    movement: float
    threshold: float


class Level:
    """Usual level of the signal, shared by all tracks of a video."""

    def __init__(self, fps: float):
        """Start with a signal at the floor.

        Args:
          fps: Frames per second of the video.
        """
        rate = fps / frames_per_look(fps)
        prior = [FLOOR / FACTOR] * round(PRIOR_SECONDS * rate)
        self._recent_signals = collections.deque(prior, maxlen=round(LEVEL_SECONDS * rate))

    def update(self, signal: float) -> None:
        """Add the next value of the signal, px of the downscaled crop."""
        self._recent_signals.append(max(0.0, signal))

    @property
    def threshold(self) -> float:
        """Value that a peak must exceed, px of the downscaled crop."""
        return max(FLOOR, FACTOR * float(np.quantile(self._recent_signals, LEVEL_QUANTILE)))


def frames_per_look(fps: float) -> int:
    """Return the number of frames that are averaged into one look."""
    return max(1, int(np.ceil(fps / MAX_LOOK_RATE - 1e-6)))


class Spotter:
    """Spotter of movements in the crops of one face that share one transform.

    Attributes:
      measurements: Signal so far. The owner of the spotter may take and clear it at any time.
    """

    def __init__(self, fps: float, side: int, level: Level, landmarks: np.ndarray | None = None):
        """Start before the first frame.

        Args:
          fps: Frames per second.
          side: Side of a crop, px.
          level: Usual level of the signal in the video.
          landmarks: Landmarks `[68, 2]`, (x, y) in px of the crop, or None.
        """
        self._step = frames_per_look(fps)
        self._rate = fps / self._step
        self._interval, self._reach, self._peak_distance = (
            max(1, round(seconds * self._rate))
            for seconds in (LOOK_INTERVAL, REACH, MIN_PEAK_DISTANCE)
        )
        self._face_motion = FaceMotion(side, landmarks)
        self._level = level
        self._group: list[tuple[int, np.ndarray]] = []
        capacity = 2 * (self._reach + self._interval + self._peak_distance) + 2
        self._looks: collections.deque[tuple[float, np.ndarray]] = collections.deque(
            maxlen=capacity
        )
        self._moves: collections.deque[Move] = collections.deque(maxlen=self._interval + 1)
        # The signal and the movement of the head. Item i belongs to look i + self._interval.
        self._signal, self._head_moves = array("f"), array("f")
        self._count = self._decided_count = 0
        self.measurements: list[Measurement] = []

    @property
    def latency(self) -> int:
        """Maximum number of frames from an apex to the update that returns its peak."""
        return (self._wait_looks + 2) * self._step

    @property
    def _wait_looks(self) -> int:
        return max(self._peak_distance + self._interval, self._reach)

    def update(self, number: int, crop: np.ndarray) -> list[Peak]:
        """Take the crop of the next frame and return the peaks that are now decided."""
        self._group.append((number, self._face_motion.downscale(crop)))
        if len(self._group) < self._step:
            return []
        numbers, images = zip(*self._group)
        self._group.clear()
        self._add_look(float(np.mean(numbers)), np.mean(images, 0) if self._step > 1 else images[0])
        return self._decide(self._count - self._wait_looks)

    def end(self) -> list[Peak]:
        """Return the remaining peaks after the last frame."""
        return self._decide(self._count)

    def _add_look(self, position: float, image: np.ndarray) -> None:
        self._looks.append((position, image))
        self._count += 1
        if len(self._looks) <= self._interval:
            return
        self._moves.append(self._face_motion.movement(self._looks[-1 - self._interval][1], image))
        if len(self._moves) > self._interval:
            before, after = self._moves[0], self._moves[-1]
            self._signal.append(_common_movement(-before.face, after.face))
            self._head_moves.append(max(before.head, after.head))
            self._level.update(self._signal[-1])

    def _decide(self, stop: int) -> list[Peak]:
        """Return the peaks among the undecided looks before `stop`."""
        peaks = []
        for look in range(max(self._decided_count, self._interval), stop):
            index = look - self._interval
            if index >= len(self._signal):
                break
            threshold = max(self._level.threshold, HEAD_FACTOR * self._head_moves[index])
            height = self._signal[index]
            position, _ = self._get_look(look)
            self.measurements.append(
                Measurement(
                    round(position),
                    max(0.0, height) / self._face_motion.scale,
                    threshold / self._face_motion.scale,
                )
            )
            if height > threshold and self._is_highest(index):
                peaks += self._make_peak(look, height)
        self._decided_count = max(self._decided_count, stop)
        return peaks

    def _is_highest(self, index: int) -> bool:
        first = max(0, index - self._peak_distance)
        near = self._signal[first : index + self._peak_distance + 1]
        return int(np.argmax(near)) == index - first

    def _make_peak(self, look: int, height: float) -> list[Peak]:
        oldest = self._count - len(self._looks)
        first = max(oldest, look - self._reach)
        stop = min(self._count, look + self._reach + 1)
        apex_image = self._get_look(look)[1]
        positions, images = zip(*(self._get_look(index) for index in range(first, stop)))
        movements = np.stack(
            [self._face_motion.movement(apex_image, image).face for image in images]
        )
        peak_marks = marks(movements, look - first, self._interval, self._rate)
        if peak_marks is None:
            return []
        onset, apex, offset = (
            round(float(np.interp(mark, np.arange(len(positions)), positions)))
            for mark in (peak_marks.onset, peak_marks.apex, peak_marks.offset)
        )
        if not onset < apex < offset:
            return []
        return [Peak(onset, apex, offset, height / self._face_motion.scale)]

    def _get_look(self, look: int) -> tuple[float, np.ndarray]:
        return self._looks[look - self._count + len(self._looks)]


def _common_movement(backward: np.ndarray, forward: np.ndarray) -> float:
    """Project the shorter of two movements `[2 n]` on the longer one, px r.m.s."""
    longer = max(float(np.linalg.norm(backward)), float(np.linalg.norm(forward)), 1e-9)
    return float(backward @ forward) / longer / (len(forward) / 2) ** 0.5
