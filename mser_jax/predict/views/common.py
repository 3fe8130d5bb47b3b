"""What the pictures of an answer share: colours, times as text, and a course that fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from data_prep.spotting.found import Course
from mser_jax.predict.answers import VideoAnswer
from mser_jax.report.plots import BLUE, GREEN, ORANGE, VERMILION

NO_FACE, UNREAD, UNMEASURED = "no face", "cannot be decoded", "not measured"
NO_MOVEMENT = "No movement that rises and falls was found."

# Okabe and Ito's, and a grey for the eighth; black and white are for what belongs to no class.
_PALETTE = (BLUE, VERMILION, GREEN, ORANGE, "#cc79a7", "#56b4e9", "#f0e442", "#8a949e")
_STRETCHES = {"no face": NO_FACE, "unread": UNREAD}
_GAP_FACTOR = 1.5  # steps from one frame of the course to the next: here one was left out


def colours(class_names: Sequence[str]) -> dict[str, str]:
    """A colour for each class, '#rrggbb'; told apart by every common form of colour vision."""
    return {name: _PALETTE[at % len(_PALETTE)] for at, name in enumerate(class_names)}


def format_time(seconds: float, digits: int = 2) -> str:
    """A time as 'm:ss', or 'h:mm:ss' from an hour on, with so many digits of a second."""
    units = 10**digits
    whole, rest = divmod(round(seconds * units), units)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    told = f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{told}.{rest:0{digits}}" if digits else told


def span(answer: VideoAnswer) -> tuple[int, int]:
    """The numbers of the first frame and of the last, also where numbers between are absent."""
    lasts = [answer.first + answer.frames - 1]
    lasts += [stretch.last for stretch in answer.stretches]
    lasts += [found.offset for found in answer.answers]
    if answer.course is not None:
        lasts += answer.course.frame[-1:].tolist()
    return answer.first, max(lasts)


def missing_spans(answer: VideoAnswer) -> dict[str, list[tuple[int, int]]]:
    """Where the course says nothing: why -> the first and the last frame of each such stretch.

    Without stretches and without a course nothing is blank.
    """
    first, last = span(answer)
    unmeasured = np.zeros(last - first + 1, bool)
    for start, end in _gaps(answer.course, first, last):
        unmeasured[start - first : end - first + 1] = True
    found: dict[str, list[tuple[int, int]]] = {}
    for stretch in answer.stretches:
        if stretch.kind in _STRETCHES:
            found.setdefault(_STRETCHES[stretch.kind], []).append((stretch.first, stretch.last))
            unmeasured[stretch.first - first : stretch.last - first + 1] = False
    edges = np.flatnonzero(np.diff(unmeasured, prepend=False, append=False)).reshape(-1, 2)
    if len(edges):
        found[UNMEASURED] = [(first + start, first + end - 1) for start, end in edges.tolist()]
    return found


def downsample(course: Course, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The course as a line of bounded length: of each column of pixels the lowest and the highest.

    Args:
      course: of any length.
      columns: of pixels, for the whole of it.

    Returns:
      frame, movement and threshold, float `[m]` with `m` below `6 * columns`; movement and
      threshold are NaN where the line breaks off.
    """
    frame = course.frame.astype(float)
    if not len(frame):
        return frame, frame, frame
    width = max(np.ptp(frame) / columns, 1.0)
    starts = np.flatnonzero(np.diff((frame - frame[0]) // width, prepend=-1))
    reduced = [
        [limit.reduceat(values, starts) for limit in (np.fmin, np.fmax)]
        for values in (course.movement, course.threshold)
    ]
    movement, threshold = (np.stack(pair, axis=1).ravel().astype(float) for pair in reduced)
    at = np.repeat(frame[starts], 2)
    breaks = 1 + np.flatnonzero(np.diff(at) > max(2 * width, _GAP_FACTOR * _frame_step(frame)))
    movement, threshold = (np.insert(values, breaks, np.nan) for values in (movement, threshold))
    return np.insert(at, breaks, at[breaks]), movement, threshold


def _gaps(course: Course | None, first: int, last: int) -> Iterable[tuple[int, int]]:
    """First and last frame of each gap between values, the video's two ends included."""
    if course is None:
        return []
    known = course.frame[np.isfinite(course.movement)]
    step = _frame_step(course.frame)
    ends = np.array([first - step, *known, last + step])
    before = np.flatnonzero(np.diff(ends) > _GAP_FACTOR * step)
    # A value stands for the frames up to the next one that the spotter looks at.
    return [(int(ends[at] + step), int(ends[at + 1] - 1)) for at in before]


def _frame_step(frame: np.ndarray) -> float:
    """From one frame that the spotter looks at to the next."""
    return float(np.median(np.diff(frame))) if len(frame) > 1 else 1.0
