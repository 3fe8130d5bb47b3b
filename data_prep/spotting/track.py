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

MAX_CROP_BYTES = 240e6  # Approximate memory of the crops that a track holds.
MAX_FPS = 1000.0  # Frames per second; for a faster camera MAX_CROP_BYTES is too small.
MAX_MICRO_EXPRESSION_SECONDS = 0.5  # s, duration of a micro-expression
CHECK_INTERVAL = 1.0  # s between two detections of the face
# A new track begins if the face in the crop moves more than this since the start of the track.
# MAX_SHIFT: in distances between the eyes. MAX_TURN: radians. MAX_GROWTH: relative change of that
# distance.
MAX_SHIFT, MAX_TURN, MAX_GROWTH = 0.08, math.radians(4), 0.08


@dataclasses.dataclass(frozen=True)
class TrackSettings:
    """Settings that all tracks of a video share.

    Attributes:
      name: Name of the video.
      fps: Frames per second.
      size: Side of the network's window, px.
      margin: Margin of the crop around the window, px.
      context_seconds: Time that a band-pass needs on both sides of a movement, s.
      level: Usual level of the spotter's signal.
    """

    name: str
    fps: float
    size: int
    margin: int
    context_seconds: float
    level: Level

    @property
    def side(self) -> int:
        """Side of a crop, px."""
        return self.size + 2 * self.margin


class Track:
    """Track of a face: it crops the frames, holds the latest crops and spots movements in them.

    Attributes:
      first: Number of the first frame.
      last_seen: Number of the last frame in which the face was detected.
    """

    def __init__(
        self, settings: TrackSettings, first: int, matrix: np.ndarray, points: np.ndarray | None
    ):
        """Start before the first frame.

        Args:
          settings: Settings that all tracks of the video share.
          first: Number of the first frame.
          matrix: Transform from a frame to its crop, `[2, 3]`.
          points: Landmarks of the face in the first frame, `[68, 2]` px, or None.
        """
        self.first = self.last_seen = first
        self._settings, self._matrix = settings, matrix
        self._points = None if points is None else face.transform_points(points, matrix)
        self._spotter = Spotter(settings.fps, settings.side, settings.level, self._points)
        reach = math.ceil(REACH * settings.fps)
        after = max(self._spotter.latency, reach) + math.ceil(CHECK_INTERVAL * settings.fps)
        room = max(0, (int(MAX_CROP_BYTES / (4 * settings.side**2)) - reach - after) // 2)
        self._context_frames = min(math.ceil(settings.context_seconds * settings.fps), room)
        capacity = reach + self._context_frames + max(after, reach + self._context_frames) + 2
        self._crops: collections.deque[np.ndarray] = collections.deque(maxlen=capacity)
        self._last = first - 1
        self._pending: list[Peak] = []
        self._spotting = True

    @property
    def capacity(self) -> int:
        """Maximum number of crops that the track holds."""
        return self._crops.maxlen or 0

    def take_measurements(self) -> list[Measurement]:
        """Return the spotter's measurements since the last call, and clear them."""
        measurements, self._spotter.measurements = self._spotter.measurements, []
        return measurements

    @property
    def idle(self) -> bool:
        """True if spotting has stopped and no movement waits for later frames."""
        return not self._spotting and not self._pending

    @property
    def window(self) -> np.ndarray:
        """Corners `[4, 2]` (x, y) of the network's window in px of the frame."""
        low, high = self._settings.margin - 0.5, self._settings.margin + self._settings.size - 0.5
        corners = np.array([(low, low), (high, low), (high, high), (low, high)])
        return (corners - self._matrix[:, 2]) @ np.linalg.inv(self._matrix[:, :2]).T

    def distance_to(self, points: np.ndarray) -> float:
        """Return how far a face is from the track's face, in distances between the eyes."""
        assert self._points is not None
        middle, across = _eyes(self._points)
        return float(
            np.hypot(*(_eyes(face.transform_points(points, self._matrix))[0] - middle))
        ) / abs(across)

    def matches(self, points: np.ndarray) -> bool:
        """Return whether a face is at the track's position.

        Args:
          points: Landmarks of the face in px of a frame, `[68, 2]`.
        """
        assert self._points is not None
        change = _eyes(face.transform_points(points, self._matrix))[1] / _eyes(self._points)[1]
        return (
            self.distance_to(points) <= MAX_SHIFT
            and abs(float(np.angle(change))) <= MAX_TURN
            and abs(abs(change) - 1) <= MAX_GROWTH
        )

    def update(self, number: int, frame: np.ndarray) -> list[SpottedMovement]:
        """Take the next frame and return the movements that are now complete."""
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
        """Add peaks to those that wait; of two that are too close, keep the larger.

        The spotter compares peaks by their looks. The refined marks can bring two of them closer.
        """
        min_distance = MIN_PEAK_DISTANCE * self._settings.fps
        for peak in peaks:
            rivals = [item for item in self._pending if abs(item.apex - peak.apex) < min_distance]
            if all(rival.movement < peak.movement for rival in rivals):
                self._pending = [item for item in self._pending if item not in rivals]
                self._pending.append(peak)

    def stop_spotting(self) -> None:
        """Stop spotting; movements spotted so far still wait for the frames after them."""
        self._add_pending(self._spotter.end())
        self._spotting = False

    def end(self, is_face_visible: Callable[[], bool]) -> list[SpottedMovement]:
        """Return the remaining movements after the last frame.

        Args:
          is_face_visible: Function that returns whether the face is in the last frame. It is called
            only if the result depends on it.
        """
        self.stop_spotting()
        complete = [peak for peak in self._pending if peak.offset <= self.last_seen]
        if len(complete) < len(self._pending) and is_face_visible():
            complete = self._pending
        self._pending = []
        if not complete:
            return []
        crops, oldest = np.stack(self._crops), self._last - len(self._crops) + 1
        self._crops.clear()
        return [
            self._make_movement(peak, lambda first, last: crops[first - oldest : last - oldest + 1])
            for peak in complete
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
        """Return a note if the clip has less than half of the context on one side."""
        needed, fps = self._settings.context_seconds, self._settings.fps
        before, after = (peak.onset - first) / fps, (last - peak.offset) / fps
        if min(before, after) >= needed / 2:
            return ()
        return (
            f"the magnification needs {needed:g} s before and after it; the face was at this place "
            f"for {before:.1f} s before and {after:.1f} s after.",
        )


def _length_notes(seconds: float) -> tuple[str, ...]:
    if seconds <= MAX_MICRO_EXPRESSION_SECONDS:
        return ()
    return (f"it lasts {seconds:.2f} s; a micro-expression lasts half a second at most.",)


def _eyes(points: np.ndarray) -> tuple[np.ndarray, complex]:
    """Return the point between the eyes (x, y), and the vector between them.

    The vector is a complex number, from the right eye to the left eye.
    """
    right, left = points[face.RIGHT_EYE].mean(0), points[face.LEFT_EYE].mean(0)
    return (right + left) / 2, complex(*(left - right))
