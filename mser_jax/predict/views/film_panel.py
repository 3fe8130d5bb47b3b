"""The panel below a film's picture: class, probabilities, marks, course, and time."""

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
_PANEL_LINES = 8.2  # height of the panel in text lines
_MIN_FONT_SCALE = 0.32  # smallest scale of letters, unless a line would be too wide
_MAX_ROWS = 4  # classes below each other; further classes form another column


def rgb(colour: str) -> tuple[int, int, int]:
    """Parse '#rrggbb' into its channels."""
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def line_height(width: int) -> int:
    """Return the height of a text line in px for a film of a width."""
    return max(17, round(width / 36))


def write_text(
    image: np.ndarray,
    position: tuple[float, float],
    text: str,
    size: float,
    colour: tuple[int, int, int],
    max_width: float = np.inf,
) -> float:
    """Write a line of text, smaller if it would be wider than `max_width`.

    Args:
      image: RGB image to draw into.
      position: Left end of the baseline, (x, y) px.
      text: One line.
      size: Line height in px.
      colour: RGB colour.
      max_width: Largest width in px.

    Returns:
      Width of the text in px.
    """
    thickness = max(1, round(size / 24))
    scale = max(size / 40, _MIN_FONT_SCALE)
    width = cv2.getTextSize(text, _FONT, scale, thickness)[0][0]
    if width > max_width:
        scale *= max_width / width
        width = max_width
    origin = (round(position[0]), round(position[1]))
    cv2.putText(image, text, origin, _FONT, scale, colour, thickness, cv2.LINE_AA)
    return width


class Panel:
    """The panel below the film. Its background is drawn once; the rest is drawn for each frame.

    Attributes:
      height: Height in px. It is even, as the video codec requires.
    """

    def __init__(self, answer: VideoAnswer, width: int):
        """Draw the background.

        Args:
          answer: Answer for the whole video.
          width: Width of the film in px.
        """
        self._answer, self._width = answer, width
        self._colours = {
            name: rgb(colour) for name, colour in answer_view.colours(answer.class_names).items()
        }
        self._line_height = line_height(width)
        self._first, self._last = answer_view.span(answer)
        self.height = 2 * round(_PANEL_LINES * self._line_height / 2)
        self._edge = self._line_height // 2
        # The course takes the space between the class above and the time below.
        self._top, self._bottom = round(4.2 * self._line_height), round(6.9 * self._line_height)
        self._background_image = self._draw_background()

    def draw(self, image: np.ndarray, number: int, answer: Answer | None, kind: str) -> None:
        """Draw the panel of one frame.

        Args:
          image: RGB image `[height, width, 3]` to draw into.
          number: Number of the frame.
          answer: Movement that covers the frame, if any.
          kind: Kind of the stretch that contains the frame; '' if unknown.
        """
        image[:] = self._background_image
        line, half = self._line_height, self._width * 0.42
        if answer is not None:
            text = f"{answer.label} {answer.confidence:.0%}"
            write_text(image, (self._edge, 1.5 * line), text, 1.5 * line, LIGHT, half - line)
            calibrated = "calibrated" if self._answer.calibrated else "not calibrated"
            write_text(image, (self._edge, 2.5 * line), calibrated, 0.8 * line, FAINT)
            self._draw_marks(image, number, answer, half - line)
        elif kind in _STATES:
            write_text(
                image, (self._edge, 1.5 * line), _STATES[kind], 1.2 * line, _ALERT, half - line
            )
        self._draw_bars(image, answer)
        x = round(self._x(number))
        thickness = max(1, line // 12)
        cv2.line(image, (x, self._top - 2), (x, self._bottom + 2), LIGHT, thickness)
        seconds = (number - self._first) / self._answer.fps
        text = f"frame {number}   {answer_view.format_time(seconds)}"
        write_text(image, (self._edge, 7.75 * line), text, 0.9 * line, LIGHT, half - line)

    def _draw_marks(self, image: np.ndarray, number: int, answer: Answer, width: float) -> None:
        """Write the three frame numbers. Each lights up once its frame is reached."""
        marks = {name: getattr(answer, name) for name in ("onset", "apex", "offset")}
        for column, (name, mark) in enumerate(marks.items()):
            left = self._edge + column * width / 3
            colour = LIGHT if number >= mark else FAINT
            size, gap = 0.8 * self._line_height, self._line_height / 3
            write_text(
                image,
                (left, 3.5 * self._line_height),
                f"{name} {mark}",
                size,
                colour,
                width / 3 - gap,
            )

    def _draw_bars(self, image: np.ndarray, answer: Answer | None) -> None:
        """Draw the name and the bar of each class. The bar is empty between movements."""
        columns = -(-len(self._colours) // _MAX_ROWS)
        rows = -(-len(self._colours) // columns)
        left, line = self._width * 0.42, self._line_height
        room = (self._width - left - self._edge) / columns
        step = 3.6 * line / max(rows, 3)
        for index, (name, colour) in enumerate(self._colours.items()):
            x, y = left + (index // rows) * room, 0.5 * line + (index % rows) * step
            size = min(0.85 * line, step)
            is_answer = answer is not None and name == answer.label
            write_text(
                image, (x, y + 0.6 * step), name, size, LIGHT if is_answer else FAINT, 0.42 * room
            )
            start, end = x + 0.46 * room, x + room - 0.5 * line
            _fill_box(image, start, y, end, y + 0.7 * step, _TRACK)
            if answer is not None:
                share = answer.probabilities[name]
                _fill_box(image, start, y, start + share * (end - start), y + 0.7 * step, colour)

    def _draw_background(self) -> np.ndarray:
        """Draw the warning and the course of the whole video with its movements."""
        image = np.full((self.height, self._width, 3), DARK, np.uint8)
        left = 0.42 * self._width
        room = self._width - left - self._edge
        write_text(
            image, (left, 7.75 * self._line_height), _WARNING, 0.7 * self._line_height, FAINT, room
        )
        _fill_box(image, self._edge, self._top, self._width - self._edge, self._bottom, _TRACK)
        for stretches in answer_view.missing_spans(self._answer).values():
            for start, end in stretches:
                self._fill_span(image, start, end, _BLANK)
        for movement in self._answer.answers:
            colour = np.array(self._colours[movement.label])
            shade = tuple((0.45 * colour + 0.55 * np.array(_TRACK)).round().astype(int).tolist())
            self._fill_span(image, movement.onset, movement.offset, shade)
            self._fill_span(image, movement.apex, movement.apex, tuple(colour.tolist()))
        self._draw_course(image)
        return image

    def _draw_course(self, image: np.ndarray) -> None:
        course = self._answer.course
        if course is None:
            return
        frame, movement, threshold = answer_view.downsample(course, self._width)
        finite = [values[np.isfinite(values)] for values in (movement, threshold)]
        top = max((values.max() for values in finite if values.size), default=0.0)
        scale = (self._bottom - self._top - 4) / max(top, 1e-6)
        for values, colour in ((threshold, FAINT), (movement, LIGHT)):
            is_finite = np.isfinite(values).astype(int)
            for start, end in np.flatnonzero(np.diff(is_finite, prepend=0, append=0)).reshape(
                -1, 2
            ):
                x, y = self._x(frame[start:end]), self._bottom - 2 - scale * values[start:end]
                line = np.rint(np.stack([x, y], axis=-1)).astype(np.int32)
                cv2.polylines(image, [line], False, colour, 1, cv2.LINE_AA)

    def _fill_span(
        self, image: np.ndarray, first: int, last: int, colour: tuple[int, int, int]
    ) -> None:
        """Fill the course's height between two frames, at least one pixel wide."""
        _fill_box(image, self._x(first), self._top, self._x(last), self._bottom, colour)

    def _x(self, frame):
        """Return the position of frames in the course, px from the left."""
        share = (frame - self._first) / max(self._last - self._first, 1)
        return self._edge + share * (self._width - 1 - 2 * self._edge)


def _fill_box(
    image: np.ndarray,
    left: float,
    top: float,
    right: float,
    bottom: float,
    colour: tuple[int, int, int],
) -> None:
    first, second = (round(left), round(top)), (round(right), round(bottom))
    cv2.rectangle(image, first, second, colour, cv2.FILLED)
