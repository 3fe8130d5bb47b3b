"""Watches a video frame by frame: finds the face, follows it, and spots its small movements.

The memory does not grow with the video, except for a few numbers per frame. The face is detected
about once a second. As long as it stays in place, its frames form one *track*, cropped by one
transform. When it has moved, a new track begins. The old one goes on for a moment, so that no
movement between them is lost. A cut ends a track at once, and so does the loss of the face.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_prep.common.errors import UserError
from data_prep.config import context_seconds, margin
from data_prep.spotting.cuts import Cuts
from data_prep.spotting.found import Course, SpottedMovement, Stretch
from data_prep.spotting.log import Signal, Stretches
from data_prep.spotting.spotter import MIN_PEAK_DISTANCE, REACH, Level
from data_prep.spotting.track import CHECK_INTERVAL, MAX_FPS, Track, TrackSettings
from data_prep.stages import face, landmarks

VERSION = 1  # Raise it when the same video gives other movements.
# s; two movements are the same if their apexes are closer than this.
SAME_MOVEMENT_SECONDS = MIN_PEAK_DISTANCE
MAX_REMEMBERED = 20  # Number of reported apexes that are remembered.
OTHER_FACE_DISTANCE = 1.0  # In distances between the eyes; a face farther away is another face.


class Watcher:
    """Finder of movements in a video, which is given the frames one at a time, in order.

    Attributes:
      first: Number of the first frame given.
    """

    def __init__(
        self,
        recipe: Mapping[str, Any],
        fps: float,
        *,
        landmarks: np.ndarray | None = None,
        name: str = "video",
        first: int = 0,
    ):
        """Start before the first frame.

        With a box or landmarks, one transform serves the whole video and no face is detected.
        Otherwise dlib detects the face.

        Args:
          recipe: Fields of `data_prep.config.recipe()` as a plain dict.
          fps: Frames per second.
          landmarks: Landmarks of the face in all frames, `[68, 2]` px, or None.
          name: Name of the video.
          first: Number of the first frame.

        Raises:
          UserError: The recipe aligns every frame on its own, or the frame rate is too high.
        """
        if fps > MAX_FPS:
            raise UserError(
                f"{name}: {fps:g} frames a second are more than the {MAX_FPS:g} that can be "
                "watched. Fix: keep every n-th frame, and give the rate of these (--fps)."
            )
        if recipe["face"]["per_frame"]:
            raise UserError(
                "face.per_frame: aligning every frame on its own moves a face by as much as a "
                "micro-expression does. Fix: to watch a video, set it False."
            )
        self._face_settings, self._points = recipe["face"], landmarks
        # The same rule as in the face stage.
        use_landmarks = landmarks is not None and self._face_settings["points"] == "auto"
        self._fixed = use_landmarks or self._face_settings["points"] == "box"
        size = recipe["size"]
        self._settings = TrackSettings(
            name, fps, size, margin(size), context_seconds(recipe), Level(fps)
        )
        self.first = self._number = self._next_check = first
        self._previous: np.ndarray | None = None
        self._tracks: list[Track] = []
        self._stop_spotting_at = math.inf  # Frame at which the older track stops spotting.
        self._cuts = Cuts(fps)
        self._stretches, self._signal = Stretches(), Signal()
        self._reported_apexes: list[int] = []
        self._faces_note = ""

    @property
    def frames_seen(self) -> int:
        """Number of frames seen so far."""
        return self._number - self.first

    @property
    def last_settled(self) -> int:
        """Number of the last frame for which it is decided whether it is an apex."""
        capacity = max((track.capacity for track in self._tracks), default=0)
        return max(self.first, self._number - capacity) - 1

    @property
    def stretches(self) -> list[Stretch]:
        """Stretches of the video so far, in order and without gaps."""
        return [*self._stretches.items]

    @property
    def course(self) -> Course:
        """Signal of the spotter so far."""
        return self._signal.course

    @property
    def notes(self) -> list[str]:
        """Notes for the user on the frames seen so far, one sentence each."""
        return [self._faces_note] if self._faces_note else []

    def update(self, frame: np.ndarray | None) -> list[SpottedMovement]:
        """Take the next frame and return the movements that are now complete.

        Args:
          frame: Frame, RGB `[h, w, 3]` in 0..255, or None if it cannot be read.

        Returns:
          Movements whose frames, context included, have all been seen.

        Raises:
          UserError: The box or the landmarks are outside the frame, or dlib or its model is
            missing.
        """
        number = self._number
        spotted: list[SpottedMovement] = []
        if frame is None:
            spotted += self._end_at_previous_frame()
            self._stretches.extend(number, "unread")
        else:
            cut = self._cuts.update(frame)
            if cut or self._previous is None:
                spotted += self._end_at_previous_frame()
                self._next_check = number
            if cut:
                self._stretches.mark_cut()
            spotted += self._follow(number, frame)
            for track in self._tracks:
                spotted += track.update(number, frame)
                self._signal.extend(track.take_measurements())
            spotted += self._retire(number)
            self._stretches.extend(number, "face" if self._tracks else "no face")
        self._previous = frame
        self._number += 1
        return self._without_duplicates(spotted)

    def end(self) -> list[SpottedMovement]:
        """Return the remaining movements after the last frame."""
        return self._without_duplicates(self._end_at_previous_frame())

    def _follow(self, number: int, frame: np.ndarray) -> list[SpottedMovement]:
        """Begin a track or continue one, and return the movements of tracks that end."""
        if self._fixed:
            if not self._tracks:
                try:
                    matrix = self._fixed_transform(frame)
                except UserError:
                    if number == self.first:
                        raise
                    return []  # The frame has another size and does not contain the face.
                self._begin_track(number, matrix, self._points, 0)
            self._tracks[-1].last_seen = number
            return []
        if number < self._next_check:
            return []
        self._next_check = number + max(1, round(CHECK_INTERVAL * self._settings.fps))
        return self._find_face(number, frame)

    def _fixed_transform(self, frame: np.ndarray) -> np.ndarray:
        settings = self._settings
        if self._face_settings["points"] == "box":
            box = self._face_settings["box"]
            return face.box_transform(
                frame.shape, box, settings.size, settings.margin, settings.name
            )
        assert self._points is not None
        face.check_eyes(self._points, frame.shape, settings.name)
        return face.align(self._points, settings.size, settings.margin, settings.name)

    def _find_face(self, number: int, frame: np.ndarray) -> list[SpottedMovement]:
        """Detect the face, and begin a new track if it has moved.

        Returns the movements of tracks that end.
        """
        faces = landmarks.find_all(frame, model=self._face_settings["model"])
        spotted: list[SpottedMovement] = []
        current = self._tracks[-1] if self._tracks else None
        if current and not faces:
            self._stretches.mark_face_lost(current.last_seen + 1, number)
        if current and (not faces or min(map(current.distance_to, faces)) > OTHER_FACE_DISTANCE):
            spotted += self._end_tracks(lambda: False)
            current = None
        if not faces:
            return spotted
        points = min(faces, key=current.distance_to) if current else faces[0]
        for track in self._tracks:
            track.last_seen = number
        if current is None or not current.matches(points):
            # At most two tracks run at a time.
            spotted += self._end_tracks(lambda: True, keep=1)
            matrix = face.align(
                points, self._settings.size, self._settings.margin, self._settings.name
            )
            self._begin_track(number, matrix, points, len(faces))
        if len(faces) > 1 and not self._faces_note:
            self._faces_note = (
                f"{len(faces)} faces in frame {number}; the one nearest to the previous position "
                "is followed."
                if current
                else face.several_faces_note(len(faces), f"in frame {number}")
            )
        return spotted

    def _begin_track(
        self, number: int, matrix: np.ndarray, points: np.ndarray | None, faces: int
    ) -> None:
        track = Track(self._settings, number, matrix, points)
        self._tracks.append(track)
        self._stretches.begin_face(number, track.window, faces)
        self._stop_spotting_at = number + math.ceil(2 * REACH * self._settings.fps)
        self._signal.add_gap(number)

    def _retire(self, number: int) -> list[SpottedMovement]:
        """End the older of two tracks once it is idle, and return its movements.

        It stops spotting when the newer track has the frames before its first movements.
        """
        if len(self._tracks) > 1:
            older = self._tracks[0]
            if number == self._stop_spotting_at:
                older.stop_spotting()
            if older.idle:
                return self._end_tracks(lambda: True, keep=1)
        return []

    def _end_at_previous_frame(self) -> list[SpottedMovement]:
        """End all tracks at the previous frame and return their movements."""
        frame = self._previous
        model = self._face_settings["model"]
        return self._end_tracks(
            lambda: frame is not None and landmarks.has_face(frame, model=model)
        )

    def _end_tracks(
        self, is_face_visible: Callable[[], bool], keep: int = 0
    ) -> list[SpottedMovement]:
        """End all tracks but the newest `keep`, and return their movements."""
        spotted: list[SpottedMovement] = []
        while len(self._tracks) > keep:
            track = self._tracks.pop(0)
            spotted += track.end(is_face_visible)
            self._signal.extend(track.take_measurements())
            self._signal.add_gap(self._number - 1)
        return spotted

    def _without_duplicates(self, spotted: list[SpottedMovement]) -> list[SpottedMovement]:
        """Return the movements that are not reported yet, in order of their apexes."""
        new_movements = []
        for movement in sorted(spotted, key=_apex):
            apex, min_distance = _apex(movement), SAME_MOVEMENT_SECONDS * self._settings.fps
            if all(abs(apex - reported) > min_distance for reported in self._reported_apexes):
                new_movements.append(movement)
                self._reported_apexes = [*self._reported_apexes[-MAX_REMEMBERED:], apex]
        return new_movements


def _apex(spotted: SpottedMovement) -> int:
    assert spotted.clip.apex is not None
    return spotted.clip.first + spotted.clip.apex
