"""A track: consecutive frames of a video, cropped to a face by one transform.

A transform for each frame would add a jitter as large as a micro-expression.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable

import numpy as np

from data_prep.clip import Clip
from data_prep.spotting.found import SpottedMovement
from data_prep.spotting.spotter import MIN_PEAK_DISTANCE, REACH, Level, Measurement, Peak, Spotter
from data_prep.stages import face

MAX_CROP_BYTES = 240e6  # bytes of crops that a track holds
MAX_FPS = 1000.0  # frames a second, with which that is enough
MAX_MICRO_EXPRESSION_SECONDS = 0.5  # s, of a micro-expression
CHECK_INTERVAL = 1.0  # s between two looks for the face
# How far a face may move in the crop before a new track begins: shares of the distance between the
# eyes, radians, and a share of that distance itself.
MAX_SHIFT, MAX_TURN, MAX_GROWTH = 0.08, math.radians(4), 0.08


@dataclasses.dataclass(frozen=True)
class TrackSettings:
    """What all tracks of a video have in common.

    Attributes:
      name: of the video.
      fps: frames a second.
      size: side of the network's window, px.
      margin: px kept around it.
      context_seconds: seconds that a band-pass needs on both sides of a movement.
      level: how large the spotter's signal usually is.
    """

    name: str
    fps: float
    size: int
    margin: int
    context_seconds: float
    level: Level

    @property
    def side(self) -> int:
        """Of a crop, px."""
        return self.size + 2 * self.margin


class Track:
    """Crops frames, holds the latest, and tells the movements in them.

    Attributes:
      first: the number of its first frame.
      last_seen: the number of the last frame in which the face has been seen.
    """

    def __init__(
        self, settings: TrackSettings, first: int, matrix: np.ndarray, points: np.ndarray | None
    ):
        """Begin.

        Args:
          settings: what all tracks have in common.
          first: the number of the first frame.
          matrix: `[2, 3]`, from a frame to its crop.
          points: the face's landmarks in that frame, `[68, 2]` px, or None.
        """
        self.first = self.last_seen = first
        self._settings, self._matrix = settings, matrix
        self._points = None if points is None else face.transform_points(points, matrix)
        self._spotter = Spotter(settings.fps, settings.side, settings.level, self._points)
        reach = math.ceil(REACH * settings.fps)
        after = max(self._spotter.latency, reach) + math.ceil(CHECK_INTERVAL * settings.fps)
        room = max(0, (int(MAX_CROP_BYTES / (4 * settings.side**2)) - reach - after) // 2)
        self._context_frames = min(math.ceil(settings.context_seconds * settings.fps), room)
        held = reach + self._context_frames + max(after, reach + self._context_frames) + 2
        self._crops: collections.deque[np.ndarray] = collections.deque(maxlen=held)
        self._last = first - 1
        self._pending: list[Peak] = []
        self._spotting = True

    @property
    def capacity(self) -> int:
        """How many crops it may hold."""
        return self._crops.maxlen or 0

    def take_measurements(self) -> list[Measurement]:
        """The spotter's signal since this was last asked for."""
        measured, self._spotter.measurements = self._spotter.measurements, []
        return measured

    @property
    def idle(self) -> bool:
        """Whether it neither looks for movements nor waits for the frames after one."""
        return not self._spotting and not self._pending

    @property
    def window(self) -> np.ndarray:
        """The corners `[4, 2]` (x, y) of the network's window in px of the frame."""
        low, high = self._settings.margin - 0.5, self._settings.margin + self._settings.size - 0.5
        corners = np.array([(low, low), (high, low), (high, high), (low, high)])
        return (corners - self._matrix[:, 2]) @ np.linalg.inv(self._matrix[:, :2]).T

    def distance_to(self, points: np.ndarray) -> float:
        """How far a face is from this one's place, in distances between its eyes."""
        assert self._points is not None
        middle, across = _eyes(self._points)
        return float(
            np.hypot(*(_eyes(face.transform_points(points, self._matrix))[0] - middle))
        ) / abs(across)

    def matches(self, points: np.ndarray) -> bool:
        """Whether a face of these landmarks, px of a frame, is where this track has it."""
        assert self._points is not None
        change = _eyes(face.transform_points(points, self._matrix))[1] / _eyes(self._points)[1]
        return (
            self.distance_to(points) <= MAX_SHIFT
            and abs(float(np.angle(change))) <= MAX_TURN
            and abs(abs(change) - 1) <= MAX_GROWTH
        )

    def update(self, number: int, frame: np.ndarray) -> list[SpottedMovement]:
        """Take the next frame; the movements that are settled by it."""
        self._last = number
        crop = face.warp(frame, self._matrix, self._settings.side)
        self._crops.append(crop)
        if self._spotting:
            self._add_pending(self._spotter.update(number, crop))
        settled = [
            peak
            for peak in self._pending
            if peak.offset + self._context_frames <= number and peak.offset <= self.last_seen
        ]
        self._pending = [peak for peak in self._pending if peak not in settled]
        return [self._make_movement(peak, self._get_crops) for peak in settled]

    def _add_pending(self, peaks: list[Peak]) -> None:
        """Of two whose marks brought them together the larger one stays."""
        near = MIN_PEAK_DISTANCE * self._settings.fps
        for peak in peaks:
            rivals = [other for other in self._pending if abs(other.apex - peak.apex) < near]
            if all(other.movement < peak.movement for other in rivals):
                self._pending = [other for other in self._pending if other not in rivals]
                self._pending.append(peak)

    def stop_spotting(self) -> None:
        """Look for no more movements; those that are known still wait for the frames after them."""
        self._add_pending(self._spotter.end())
        self._spotting = False

    def end(self, is_face_visible: Callable[[], bool]) -> list[SpottedMovement]:
        """The movements that are left when no frame follows.

        Args:
          is_face_visible: whether the face is in the last frame: asked when that decides.
        """
        self.stop_spotting()
        known = [peak for peak in self._pending if peak.offset <= self.last_seen]
        if len(known) < len(self._pending) and is_face_visible():
            known = self._pending
        self._pending = []
        if not known:
            return []
        whole, oldest = np.stack(self._crops), self._last - len(self._crops) + 1
        self._crops.clear()
        return [
            self._make_movement(peak, lambda first, last: whole[first - oldest : last - oldest + 1])
            for peak in known
        ]

    def _get_crops(self, first: int, last: int) -> np.ndarray:
        oldest = self._last - len(self._crops) + 1
        return np.stack([self._crops[number - oldest] for number in range(first, last + 1)])

    def _make_movement(
        self, peak: Peak, get_crops: Callable[[int, int], np.ndarray]
    ) -> SpottedMovement:
        oldest = self._last - (len(self._crops) or self.capacity) + 1
        first = max(self.first, oldest, peak.onset - self._context_frames)
        last = min(self._last, peak.offset + self._context_frames)
        clip = Clip(
            frames=get_crops(first, last),
            fps=self._settings.fps,
            onset=peak.onset - first,
            apex=peak.apex - first,
            offset=peak.offset - first,
            subject="unknown",
            clip_id=f"{self._settings.name}_{peak.onset}",
            label="unknown",
            emotion="unknown",
            dataset="video",
            first=first,
            apex_estimated=True,
            landmarks=self._points,
            transform=self._matrix,
            notes=(
                *_length_notes((peak.offset - peak.onset) / self._settings.fps),
                *self._context_notes(peak, first, last),
            ),
        )
        return SpottedMovement(clip, peak.movement)

    def _context_notes(self, peak: Peak, first: int, last: int) -> tuple[str, ...]:
        """Whether less than half of what the magnification wants is there, before or after."""
        wanted, fps = self._settings.context_seconds, self._settings.fps
        before, after = (peak.onset - first) / fps, (last - peak.offset) / fps
        if min(before, after) >= wanted / 2:
            return ()
        return (
            f"the magnification wants {wanted:g} s before and after it; the face was at this place "
            f"for {before:.1f} s before and {after:.1f} s after.",
        )


def _length_notes(seconds: float) -> tuple[str, ...]:
    if seconds <= MAX_MICRO_EXPRESSION_SECONDS:
        return ()
    return (f"it lasts {seconds:.2f} s; a micro-expression lasts half a second at most.",)


def _eyes(points: np.ndarray) -> tuple[np.ndarray, complex]:
    """The point between the eyes (x, y), and the way from one to the other as a complex number."""
    right, left = points[face.RIGHT_EYE].mean(0), points[face.LEFT_EYE].mean(0)
    return (right + left) / 2, complex(*(left - right))
