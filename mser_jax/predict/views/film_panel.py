"""What stands below a film's picture: class, probabilities, marks, the course, and the time."""

from __future__ import annotations

import numpy as np

from data_prep.common.cv import cv2
from mser_jax.predict.answers import Answer, VideoAnswer
from mser_jax.predict.views import common as answer_view
from mser_jax.predict.views.common import NO_FACE, UNREAD

DARK, LIGHT, FAINT = (20, 26, 33), (240, 243, 246), (150, 160, 172)
_TRACK, _BLANK, _ALERT = (44, 53, 64), (62, 71, 82), (240, 170, 60)
_WARNING = "What a model makes of a face, not what a person feels."
_STATES = {"no face": NO_FACE, "unread": UNREAD}
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LINES = 8.2  # that the panel is high
_SMALLEST = 0.32  # scale of the letters, unless a line would be too wide
_BESIDE = 4  # classes below each other; the others stand beside them


def rgb(colour: str) -> tuple[int, int, int]:
    """The channels of '#rrggbb'."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def pitch(width: int) -> int:
    """From one line of text to the next, px, in a film of that width."""
    return max(17, round(width / 36))


def write(
    image: np.ndarray,
    place: tuple[float, float],
    text: str,
    size: float,
    colour: tuple[int, int, int],
    room: float = np.inf,
) -> float:
    """Write a line, smaller where it would be wider than `room`.

    Args:
      image: RGB, is drawn into.
      place: (x, y) px, where its letters stand at the left.
      text: one line.
      size: from this line to the next, px.
      colour: RGB.
      room: px.

    Returns:
      Its width, px.
    """
    thickness = max(1, round(size / 24))
    scale = max(size / 40, _SMALLEST)
    width = cv2.getTextSize(text, _FONT, scale, thickness)[0][0]
    if width > room:
        scale *= room / width
        width = room
    at = (round(place[0]), round(place[1]))
    cv2.putText(image, text, at, _FONT, scale, colour, thickness, cv2.LINE_AA)
    return width


class Panel:
    """Drawn once, and for each frame only what changes.

    Attributes:
      height: px; even, as the coder of the film wants it.
    """

    def __init__(self, answer: VideoAnswer, width: int):
        """Draw what stays.

        Args:
          answer: of the whole video.
          width: of the film, px.
        """
        self._answer, self._width = answer, width
        self._colours = {
            name: rgb(colour) for name, colour in answer_view.colours(answer.class_names).items()
        }
        self._line = pitch(width)
        self._first, self._last = answer_view.span(answer)
        self.height = 2 * round(_LINES * self._line / 2)
        self._edge = self._line // 2
        # The course has what the class above and the time below leave.
        self._top, self._bottom = round(4.2 * self._line), round(6.9 * self._line)
        self._empty = self._background()

    def draw(self, image: np.ndarray, number: int, found: Answer | None, kind: str) -> None:
        """Draw the panel of one frame.

        Args:
          image: `[height, width, 3]` RGB, is drawn into.
          number: of the frame.
          found: the movement that lasts then, if any.
          kind: of the stretch that the frame is in; '' where that is not known.
        """
        image[:] = self._empty
        line, half = self._line, self._width * 0.42
        if found is not None:
            told = f"{found.label} {found.confidence:.0%}"
            write(image, (self._edge, 1.5 * line), told, 1.5 * line, LIGHT, half - line)
            calibrated = "calibrated" if self._answer.calibrated else "not calibrated"
            write(image, (self._edge, 2.5 * line), calibrated, 0.8 * line, FAINT)
            self._marks(image, number, found, half - line)
        elif kind in _STATES:
            write(image, (self._edge, 1.5 * line), _STATES[kind], 1.2 * line, _ALERT, half - line)
        self._bars(image, found)
        x = round(self._x(number))
        thickness = max(1, line // 12)
        cv2.line(image, (x, self._top - 2), (x, self._bottom + 2), LIGHT, thickness)
        seconds = (number - self._first) / self._answer.fps
        told = f"frame {number}   {answer_view.clock(seconds)}"
        write(image, (self._edge, 7.75 * line), told, 0.9 * line, LIGHT, half - line)

    def _marks(self, image: np.ndarray, number: int, found: Answer, room: float) -> None:
        """The three numbers; each lights up when its moment has come."""
        marks = {name: getattr(found, name) for name in ("onset", "apex", "offset")}
        for place, (name, mark) in enumerate(marks.items()):
            left = self._edge + place * room / 3
            colour = LIGHT if number >= mark else FAINT
            size, gap = 0.8 * self._line, self._line / 3
            write(image, (left, 3.5 * self._line), f"{name} {mark}", size, colour, room / 3 - gap)

    def _bars(self, image: np.ndarray, found: Answer | None) -> None:
        """A bar for each class: a name and an empty one while nothing moves."""
        columns = -(-len(self._colours) // _BESIDE)
        rows = -(-len(self._colours) // columns)
        left, line = self._width * 0.42, self._line
        room = (self._width - left - self._edge) / columns
        step = 3.6 * line / max(rows, 3)
        for at, (name, colour) in enumerate(self._colours.items()):
            x, y = left + (at // rows) * room, 0.5 * line + (at % rows) * step
            size = min(0.85 * line, step)
            lit = found is not None and name == found.label
            write(image, (x, y + 0.6 * step), name, size, LIGHT if lit else FAINT, 0.42 * room)
            start, end = x + 0.46 * room, x + room - 0.5 * line
            _box(image, start, y, end, y + 0.7 * step, _TRACK)
            if found is not None:
                share = found.probabilities[name]
                _box(image, start, y, start + share * (end - start), y + 0.7 * step, colour)

    def _background(self) -> np.ndarray:
        """The warning and the course of the whole video with its movements."""
        image = np.full((self.height, self._width, 3), DARK, np.uint8)
        left = 0.42 * self._width
        room = self._width - left - self._edge
        write(image, (left, 7.75 * self._line), _WARNING, 0.7 * self._line, FAINT, room)
        _box(image, self._edge, self._top, self._width - self._edge, self._bottom, _TRACK)
        for stretches in answer_view.blanks(self._answer).values():
            for start, end in stretches:
                self._span(image, start, end, _BLANK)
        for found in self._answer.answers:
            colour = np.array(self._colours[found.label])
            shade = tuple((0.45 * colour + 0.55 * np.array(_TRACK)).round().astype(int).tolist())
            self._span(image, found.onset, found.offset, shade)
            self._span(image, found.apex, found.apex, tuple(colour.tolist()))
        self._course(image)
        return image

    def _course(self, image: np.ndarray) -> None:
        course = self._answer.course
        if course is None:
            return
        frame, movement, threshold = answer_view.thinned(course, self._width)
        finite = [values[np.isfinite(values)] for values in (movement, threshold)]
        top = max((values.max() for values in finite if values.size), default=0.0)
        scale = (self._bottom - self._top - 4) / max(top, 1e-6)
        for values, colour in ((threshold, FAINT), (movement, LIGHT)):
            known = np.isfinite(values).astype(int)
            for start, end in np.flatnonzero(np.diff(known, prepend=0, append=0)).reshape(-1, 2):
                x, y = self._x(frame[start:end]), self._bottom - 2 - scale * values[start:end]
                line = np.rint(np.stack([x, y], axis=-1)).astype(np.int32)
                cv2.polylines(image, [line], False, colour, 1, cv2.LINE_AA)

    def _span(self, image: np.ndarray, first: int, last: int, colour: tuple[int, int, int]) -> None:
        """Fill the course's height from one frame to another; one pixel at least."""
        _box(image, self._x(first), self._top, self._x(last), self._bottom, colour)

    def _x(self, frame):
        """Where frames lie in the course, px from the left."""
        share = (frame - self._first) / max(self._last - self._first, 1)
        return self._edge + share * (self._width - 1 - 2 * self._edge)


def _box(
    image: np.ndarray,
    left: float,
    top: float,
    right: float,
    bottom: float,
    colour: tuple[int, int, int],
) -> None:
    first, second = (round(left), round(top)), (round(right), round(bottom))
    cv2.rectangle(image, first, second, colour, cv2.FILLED)
