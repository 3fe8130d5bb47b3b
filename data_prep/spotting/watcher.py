"""Watches a video frame by frame: finds the face, follows it, and tells its small movements.

What is held does not grow with the video, but for a few numbers a frame. The face is looked for
about once a second. While it is where it was, its frames are one *track* and cropped by one
transform; when it has moved, a new track begins and the old one goes on for a moment, so that no
movement is lost between them. A cut ends a track at once, and so does a face that is gone.
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

VERSION = 1  # of watching: raise it when the same video gives other movements
SAME_MOVEMENT_SECONDS = (
    MIN_PEAK_DISTANCE  # s: apexes of two tracks nearer than this are one movement
)
MAX_REMEMBERED = 20  # apexes that have been told
OTHER_FACE_DISTANCE = 1.0  # distances between the eyes: a face farther than this is another one


class Watcher:
    """Sees a video's frames in order.

    Attributes:
      first: the number of the first frame.
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
        """Begin.

        With a box or landmarks there is one transform for the whole video, and no face is looked
        for; otherwise dlib finds it.

        Args:
          recipe: the fields of `data_prep.config.recipe()` as a plain dict.
          fps: frames a second.
          landmarks: `[68, 2]` px of the face in all frames, or None.
          name: what to call the video.
          first: the number of its first frame.

        Raises:
          UserError: the recipe aligns every frame on its own; too many frames a second.
        """
        if fps > MAX_FPS:
            raise UserError(
                f"{name}: {fps:g} frames a second are more than the {MAX_FPS:g} that can be "
                "watched. Keep every so many-th frame, and give the rate that is left (--fps)."
            )
        if recipe["face"]["per_frame"]:
            raise UserError(
                "face.per_frame aligns every frame on its own, which moves a face by as much as a "
                "micro-expression does. To watch a video set it False."
            )
        self._face_settings, self._points = recipe["face"], landmarks
        given = (
            landmarks is not None and self._face_settings["points"] == "auto"
        )  # as the face stage does
        self._fixed = given or self._face_settings["points"] == "box"
        size = recipe["size"]
        self._settings = TrackSettings(
            name, fps, size, margin(size), context_seconds(recipe), Level(fps)
        )
        self.first = self._number = self._next_check = first
        self._previous: np.ndarray | None = None
        self._tracks: list[Track] = []
        self._stop_spotting_at = math.inf  # when the older track looks for no more movements
        self._cuts = Cuts(fps)
        self._stretches, self._signal = Stretches(), Signal()
        self._reported_apexes: list[int] = []
        self._faces_note = ""

    @property
    def frames_seen(self) -> int:
        """How many frames it has seen."""
        return self._number - self.first

    @property
    def last_settled(self) -> int:
        """The number of the last frame of which it is known whether an apex is there."""
        held = max((track.capacity for track in self._tracks), default=0)
        return max(self.first, self._number - held) - 1

    @property
    def stretches(self) -> list[Stretch]:
        """Of what the video has consisted so far, in order and without gaps."""
        return [*self._stretches.items]

    @property
    def course(self) -> Course:
        """The spotter's signal so far."""
        return self._signal.course

    @property
    def notes(self) -> list[str]:
        """What a user should know of what has been seen so far."""
        return [self._faces_note] if self._faces_note else []

    def update(self, frame: np.ndarray | None) -> list[SpottedMovement]:
        """Take the next frame, RGB uint8 `[h, w, 3]`, or None where it cannot be read.

        Returns:
          The movements that are settled by now; the frames around them have been seen too.

        Raises:
          UserError: a box or landmarks outside the frame; dlib or its model missing.
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
        """The movements that are left when no frame follows."""
        return self._without_duplicates(self._end_at_previous_frame())

    def _follow(self, number: int, frame: np.ndarray) -> list[SpottedMovement]:
        """Begin a track, or go on with one."""
        if self._fixed:
            if not self._tracks:
                try:
                    matrix = self._fixed_transform(frame)
                except UserError:
                    if number == self.first:
                        raise
                    return []  # a frame of another size, in which the face is not at its place
                self._begin_track(number, matrix, self._points, 0)
            self._tracks[-1].last_seen = number
            return []
        if number < self._next_check:
            return []
        self._next_check = number + max(1, round(CHECK_INTERVAL * self._settings.fps))
        return self._find_face(number, frame)

    def _fixed_transform(self, frame: np.ndarray) -> np.ndarray:
        made = self._settings
        if self._face_settings["points"] == "box":
            box = self._face_settings["box"]
            return face.box_transform(frame.shape, box, made.size, made.margin, made.name)
        assert self._points is not None
        face.check_eyes(self._points, frame.shape, made.name)
        return face.align(self._points, made.size, made.margin, made.name)

    def _find_face(self, number: int, frame: np.ndarray) -> list[SpottedMovement]:
        """Find the face and compare it with the track's."""
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
            # At most two at a time.
            spotted += self._end_tracks(lambda: True, keep=1)
            matrix = face.align(
                points, self._settings.size, self._settings.margin, self._settings.name
            )
            self._begin_track(number, matrix, points, len(faces))
        if len(faces) > 1 and not self._faces_note:
            self._faces_note = (
                f"{len(faces)} faces in frame {number}; the one nearest to where it was is "
                "followed."
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
        """The older track goes on until the new one knows what comes before its movements."""
        if len(self._tracks) > 1:
            older = self._tracks[0]
            if number == self._stop_spotting_at:
                older.stop_spotting()
            if older.idle:
                return self._end_tracks(lambda: True, keep=1)
        return []

    def _end_at_previous_frame(self) -> list[SpottedMovement]:
        """End all tracks at the frame before."""
        frame = self._previous
        model = self._face_settings["model"]
        return self._end_tracks(
            lambda: frame is not None and landmarks.has_face(frame, model=model)
        )

    def _end_tracks(
        self, is_face_visible: Callable[[], bool], keep: int = 0
    ) -> list[SpottedMovement]:
        """End the tracks, the oldest first, but for so many."""
        spotted: list[SpottedMovement] = []
        while len(self._tracks) > keep:
            track = self._tracks.pop(0)
            spotted += track.end(is_face_visible)
            self._signal.extend(track.take_measurements())
            self._signal.add_gap(self._number - 1)
        return spotted

    def _without_duplicates(self, spotted: list[SpottedMovement]) -> list[SpottedMovement]:
        """Those that have not been told, by the order of their apexes."""
        new = []
        for movement in sorted(spotted, key=_apex):
            apex, near = _apex(movement), SAME_MOVEMENT_SECONDS * self._settings.fps
            if all(abs(apex - told) > near for told in self._reported_apexes):
                new.append(movement)
                self._reported_apexes = [*self._reported_apexes[-MAX_REMEMBERED:], apex]
        return new


def _apex(spotted: SpottedMovement) -> int:
    assert spotted.clip.apex is not None
    return spotted.clip.first + spotted.clip.apex
