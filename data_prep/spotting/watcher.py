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
from data_prep.config import around, margin
from data_prep.spotting.cuts import Cuts
from data_prep.spotting.found import Course, Spotted, Stretch
from data_prep.spotting.log import Signal, Stretches
from data_prep.spotting.spotter import REACH, RIVAL, Level
from data_prep.spotting.track import CHECK, FASTEST, Making, Track
from data_prep.stages import face, landmarks

VERSION = 1  # of watching: raise it when the same video gives other movements
SAME = RIVAL  # s: apexes of two tracks nearer than this are one movement
REMEMBERED = 20  # apexes that have been told
ELSEWHERE = 1.0  # distances between the eyes: a face farther than this is another one


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
        if fps > FASTEST:
            raise UserError(
                f"{name}: {fps:g} frames a second are more than the {FASTEST:g} that can be "
                "watched. Keep every so many-th frame, and give the rate that is left (--fps)."
            )
        if recipe["face"]["per_frame"]:
            raise UserError(
                "face.per_frame aligns every frame on its own, which moves a face by as much as a "
                "micro-expression does. To watch a video set it False."
            )
        self._face, self._points = recipe["face"], landmarks
        given = landmarks is not None and self._face["points"] == "auto"  # as the face stage does
        self._fixed = given or self._face["points"] == "box"
        size = recipe["size"]
        self._made = Making(name, fps, size, margin(size), around(recipe), Level(fps))
        self.first = self._number = self._check = first
        self._previous: np.ndarray | None = None
        self._tracks: list[Track] = []
        self._finish = math.inf  # when the older track looks for no more movements
        self._cuts = Cuts(fps)
        self._stretches, self._signal = Stretches(), Signal()
        self._told: list[int] = []
        self._several = ""

    @property
    def seen(self) -> int:
        """How many frames it has seen."""
        return self._number - self.first

    @property
    def settled(self) -> int:
        """The number of the last frame of which it is known whether an apex is there."""
        held = max((track.held for track in self._tracks), default=0)
        return max(self.first, self._number - held) - 1

    @property
    def stretches(self) -> list[Stretch]:
        """Of what the video has consisted so far, in order and without gaps."""
        return [*self._stretches.all]

    @property
    def course(self) -> Course:
        """The spotter's signal so far."""
        return self._signal.course

    @property
    def notes(self) -> list[str]:
        """What a user should know of what has been seen so far."""
        return [self._several] if self._several else []

    def see(self, frame: np.ndarray | None) -> list[Spotted]:
        """Take the next frame, RGB uint8 `[h, w, 3]`, or None where it cannot be read.

        Returns:
          The movements that are settled by now; the frames around them have been seen too.

        Raises:
          UserError: a box or landmarks outside the frame; dlib or its model missing.
        """
        number = self._number
        spotted: list[Spotted] = []
        if frame is None:
            spotted += self._break()
            self._stretches.go_on(number, "unread")
        else:
            cut = self._cuts.see(frame)
            if cut or self._previous is None:
                spotted += self._break()
                self._check = number
            if cut:
                self._stretches.cut()
            spotted += self._follow(number, frame)
            for track in self._tracks:
                spotted += track.see(number, frame)
                self._signal.take(track.measured())
            spotted += self._retire(number)
            self._stretches.go_on(number, "face" if self._tracks else "no face")
        self._previous = frame
        self._number += 1
        return self._new(spotted)

    def end(self) -> list[Spotted]:
        """The movements that are left when no frame follows."""
        return self._new(self._break())

    def _follow(self, number: int, frame: np.ndarray) -> list[Spotted]:
        """Begin a track, or go on with one."""
        if self._fixed:
            if not self._tracks:
                try:
                    matrix = self._fixed_transform(frame)
                except UserError:
                    if number == self.first:
                        raise
                    return []  # a frame of another size, in which the face is not at its place
                self._begin(number, matrix, self._points, 0)
            self._tracks[-1].trusted = number
            return []
        if number < self._check:
            return []
        self._check = number + max(1, round(CHECK * self._made.fps))
        return self._look_for(number, frame)

    def _fixed_transform(self, frame: np.ndarray) -> np.ndarray:
        made = self._made
        if self._face["points"] == "box":
            box = self._face["box"]
            return face.put_box(frame.shape, box, made.size, made.margin, made.name)
        assert self._points is not None
        face.check_eyes(self._points, frame.shape, made.name)
        return face.align(self._points, made.size, made.margin, made.name)

    def _look_for(self, number: int, frame: np.ndarray) -> list[Spotted]:
        """Find the face and compare it with the track's."""
        faces = landmarks.find_all(frame, model=self._face["model"])
        spotted: list[Spotted] = []
        current = self._tracks[-1] if self._tracks else None
        if current and not faces:
            self._stretches.lose(current.trusted + 1, number)
        if current and (not faces or min(map(current.away, faces)) > ELSEWHERE):
            spotted += self._end_all(lambda: False)
            current = None
        if not faces:
            return spotted
        points = min(faces, key=current.away) if current else faces[0]
        for track in self._tracks:
            track.trusted = number
        if current is None or not current.holds(points):
            # At most two at a time.
            spotted += self._end_all(lambda: True, keep=1)
            matrix = face.align(points, self._made.size, self._made.margin, self._made.name)
            self._begin(number, matrix, points, len(faces))
        if len(faces) > 1 and not self._several:
            self._several = (
                f"{len(faces)} faces in frame {number}; the one nearest to where it was is "
                "followed."
                if current
                else face.several(len(faces), f"in frame {number}")
            )
        return spotted

    def _begin(
        self, number: int, matrix: np.ndarray, points: np.ndarray | None, faces: int
    ) -> None:
        track = Track(self._made, number, matrix, points)
        self._tracks.append(track)
        self._stretches.begin(number, track.window, faces)
        self._finish = number + math.ceil(2 * REACH * self._made.fps)
        self._signal.gap(number)

    def _retire(self, number: int) -> list[Spotted]:
        """The older track goes on until the new one knows what comes before its movements."""
        if len(self._tracks) > 1:
            older = self._tracks[0]
            if number == self._finish:
                older.finish()
            if older.idle:
                return self._end_all(lambda: True, keep=1)
        return []

    def _break(self) -> list[Spotted]:
        """End all tracks at the frame before."""
        frame = self._previous
        model = self._face["model"]
        return self._end_all(lambda: frame is not None and landmarks.is_seen(frame, model=model))

    def _end_all(self, is_there: Callable[[], bool], keep: int = 0) -> list[Spotted]:
        """End the tracks, the oldest first, but for so many."""
        spotted: list[Spotted] = []
        while len(self._tracks) > keep:
            track = self._tracks.pop(0)
            spotted += track.end(is_there)
            self._signal.take(track.measured())
            self._signal.gap(self._number - 1)
        return spotted

    def _new(self, spotted: list[Spotted]) -> list[Spotted]:
        """Those that have not been told, by the order of their apexes."""
        new = []
        for movement in sorted(spotted, key=_apex):
            apex, near = _apex(movement), SAME * self._made.fps
            if all(abs(apex - told) > near for told in self._told):
                new.append(movement)
                self._told = [*self._told[-REMEMBERED:], apex]
        return new


def _apex(spotted: Spotted) -> int:
    assert spotted.clip.apex is not None
    return spotted.clip.first + spotted.clip.apex
