"""Movements of a face that come and go, found while its frames are seen one after the other.

At every moment the face is compared with itself a quarter of a second earlier and a quarter later.
A movement that has just reached its peak looks the same from both sides: the way back to what was
and the way on to what will be are one and the same. One that goes on steadily has two opposite
ways, and at its beginning or end one of the two is nothing. So the signal is how far one way goes
along the other, the longer one being the measure: there are no peaks beside the peak, as there are
where only distances count.

benchmarks/README.md has how much of what is planted in synthetic videos is found.

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

MAX_LOOK_RATE = 60.0  # a second at most; of a faster camera several frames are averaged to one look
LOOK_INTERVAL = 0.25  # s between a look and those that it is compared with
REACH = 0.5  # s on either side of an apex, in which onset and offset are looked for
MIN_PEAK_DISTANCE = 0.25  # s: of two peaks nearer than this the larger one stays
# A peak must exceed all three: FLOOR px of the reduced crop; FACTOR times what the signal stays
# under for SHARE of the last USUAL seconds; and HEAD times the head's own movement at that moment,
# of which some is always left. FLOOR, FACTOR and SHARE were chosen on synthetic videos (seeds 611
# and 612, at 100 and 33 frames a second) for the best F1 with no false alarm in those without an
# expression.
FLOOR = 0.05
FACTOR, LEVEL_QUANTILE, LEVEL_SECONDS = 4.0, 0.75, 20.0
HEAD_FACTOR = 0.05
PRIOR_SECONDS = 1.0  # s of a signal at the floor that are taken to have come before the first


@dataclasses.dataclass(frozen=True)
class Peak:
    """A movement that came and went: its marks, numbers of frames, and its size in px of the crop.

    The size is the root mean square over the face, at the apex.
    """

    onset: int
    apex: int
    offset: int
    movement: float


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The signal at a frame and what a peak must exceed there, px of the crop."""

    frame: int
    movement: float
    threshold: float


class Level:
    """How large the signal usually is: one for a video, whatever it is cut into."""

    def __init__(self, fps: float):
        """Take looks at a video of `fps` frames a second."""
        rate = fps / frames_per_look(fps)
        prior = [FLOOR / FACTOR] * round(PRIOR_SECONDS * rate)
        self._recent_signals = collections.deque(prior, maxlen=round(LEVEL_SECONDS * rate))

    def update(self, signal: float) -> None:
        """Take the next value, px of the reduced crop."""
        self._recent_signals.append(max(0.0, signal))

    @property
    def threshold(self) -> float:
        """What a peak must exceed, px of the reduced crop."""
        return max(FLOOR, FACTOR * float(np.quantile(self._recent_signals, LEVEL_QUANTILE)))


def frames_per_look(fps: float) -> int:
    """How many frames make one look."""
    return max(1, int(np.ceil(fps / MAX_LOOK_RATE - 1e-6)))


class Spotter:
    """Follows the crops of one face by one transform.

    Attributes:
      measurements: the signal so far, taken away by whoever wants it.
    """

    def __init__(self, fps: float, side: int, level: Level, landmarks: np.ndarray | None = None):
        """Begin.

        Args:
          fps: frames a second.
          side: of a crop, px.
          level: how large the signal usually is.
          landmarks: `[68, 2]` (x, y) in px of the crop, or None.
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
        held = 2 * (self._reach + self._interval + self._peak_distance) + 2
        self._looks: collections.deque[tuple[float, np.ndarray]] = collections.deque(maxlen=held)
        self._moves: collections.deque[Move] = collections.deque(maxlen=self._interval + 1)
        # Of the looks from `self._apart` on: the signal, and how much the head moves.
        self._signal, self._head_moves = array("f"), array("f")
        self._count = self._decided_count = 0
        self.measurements: list[Measurement] = []

    @property
    def latency(self) -> int:
        """Frames from an apex to its being told, at most."""
        return (self._wait_looks + 2) * self._step

    @property
    def _wait_looks(self) -> int:
        return max(self._peak_distance + self._interval, self._reach)

    def update(self, number: int, crop: np.ndarray) -> list[Peak]:
        """Take the next frame; the peaks that are settled by it."""
        self._group.append((number, self._face_motion.downscale(crop)))
        if len(self._group) < self._step:
            return []
        numbers, images = zip(*self._group)
        self._group.clear()
        self._add_look(float(np.mean(numbers)), np.mean(images, 0) if self._step > 1 else images[0])
        return self._decide(self._count - self._wait_looks)

    def end(self) -> list[Peak]:
        """The peaks that are left when no frame follows."""
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
        """Settle the looks before `stop`, counted from the first one."""
        found = []
        for look in range(max(self._decided_count, self._interval), stop):
            index = look - self._interval
            if index >= len(self._signal):
                break
            threshold = max(self._level.threshold, HEAD_FACTOR * self._head_moves[index])
            height = self._signal[index]
            place, _ = self._get_look(look)
            self.measurements.append(
                Measurement(
                    round(place),
                    max(0.0, height) / self._face_motion.scale,
                    threshold / self._face_motion.scale,
                )
            )
            if height > threshold and self._is_highest(index):
                found += self._make_peak(look, height)
        self._decided_count = max(self._decided_count, stop)
        return found

    def _is_highest(self, index: int) -> bool:
        first = max(0, index - self._peak_distance)
        near = self._signal[first : index + self._peak_distance + 1]
        return int(np.argmax(near)) == index - first

    def _make_peak(self, look: int, height: float) -> list[Peak]:
        oldest = self._count - len(self._looks)
        first = max(oldest, look - self._reach)
        stop = min(self._count, look + self._reach + 1)
        top = self._get_look(look)[1]
        places, images = zip(*(self._get_look(other) for other in range(first, stop)))
        movements = np.stack([self._face_motion.movement(top, image).face for image in images])
        found = marks(movements, look - first, self._interval, self._rate)
        if found is None:
            return []
        onset, peak, offset = (
            round(float(np.interp(mark, np.arange(len(places)), places)))
            for mark in (found.onset, found.apex, found.offset)
        )
        if not onset < peak < offset:
            return []
        return [Peak(onset, peak, offset, height / self._face_motion.scale)]

    def _get_look(self, look: int) -> tuple[float, np.ndarray]:
        return self._looks[look - self._count + len(self._looks)]


def _common_movement(backward: np.ndarray, forward: np.ndarray) -> float:
    """How far the shorter of two movements `[2 n]` goes along the longer one, px r.m.s."""
    longer = max(float(np.linalg.norm(backward)), float(np.linalg.norm(forward)), 1e-9)
    return float(backward @ forward) / longer / (len(forward) / 2) ** 0.5
