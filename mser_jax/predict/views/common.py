"""What the pictures of an answer share: colours, times as text, and a downsampled course."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from data_prep.spotting.found import Course
from mser_jax.predict.answers import VideoAnswer
from mser_jax.report.plots import BLUE, GREEN, ORANGE, VERMILION

NO_FACE, UNREAD, UNMEASURED = "no face", "cannot be decoded", "not measured"
NO_MOVEMENT = "No movement that rises and falls was found."

# Okabe and Ito's palette, and a grey for the eighth class. Black and white belong to no class.
_PALETTE = (BLUE, VERMILION, GREEN, ORANGE, "#cc79a7", "#56b4e9", "#f0e442", "#8a949e")
_STRETCHES = {"no face": NO_FACE, "unread": UNREAD}
_GAP_FACTOR = 1.5  # A longer step, in usual steps, means that a frame was left out.


def colours(class_names: Sequence[str]) -> dict[str, str]:
    """Choose a colour '#rrggbb' for each class, distinct in every colour vision."""
    return {name: _PALETTE[index % len(_PALETTE)] for index, name in enumerate(class_names)}


def format_time(seconds: float, digits: int = 2) -> str:
    """Format a time as 'm:ss', or 'h:mm:ss' from an hour on.

    Args:
      seconds: Time in seconds.
      digits: Decimals of the seconds.
    """
    units = 10**digits
    total, rest = divmod(round(seconds * units), units)
    minutes, second = divmod(total, 60)
    hours, minute = divmod(minutes, 60)
    text = f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
    return f"{text}.{rest:0{digits}}" if digits else text


def span(answer: VideoAnswer) -> tuple[int, int]:
    """Return the first and the last frame number; some between may be missing."""
    last_frames = [answer.first + answer.frames - 1]
    last_frames += [stretch.last for stretch in answer.stretches]
    last_frames += [movement.offset for movement in answer.answers]
    if answer.course is not None:
        last_frames += answer.course.frame[-1:].tolist()
    return answer.first, max(last_frames)


def missing_spans(answer: VideoAnswer) -> dict[str, list[tuple[int, int]]]:
    """Find the spans without a measurement, grouped by the reason.

    Returns:
      Reason -> first and last frame of each span. Empty if there are neither stretches nor a
      course.
    """
    first, last = span(answer)
    unmeasured = np.zeros(last - first + 1, bool)
    for start, end in _gaps(answer.course, first, last):
        unmeasured[start - first : end - first + 1] = True
    spans: dict[str, list[tuple[int, int]]] = {}
    for stretch in answer.stretches:
        if stretch.kind in _STRETCHES:
            spans.setdefault(_STRETCHES[stretch.kind], []).append((stretch.first, stretch.last))
            unmeasured[stretch.first - first : stretch.last - first + 1] = False
    edges = np.flatnonzero(np.diff(unmeasured, prepend=False, append=False)).reshape(-1, 2)
    if len(edges):
        spans[UNMEASURED] = [(first + start, first + end - 1) for start, end in edges.tolist()]
    return spans


def downsample(course: Course, columns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Downsample the course: keep the minimum and the maximum of each pixel column.

    Args:
      course: Course of any length.
      columns: Number of pixel columns for the whole course.

    Returns:
      frame, movement and threshold, float `[m]` with `m` below `6 * columns`. Movement and
      threshold are NaN where the line is interrupted.
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
    column_frames = np.repeat(frame[starts], 2)
    breaks = 1 + np.flatnonzero(
        np.diff(column_frames) > max(2 * width, _GAP_FACTOR * _frame_step(frame))
    )
    movement, threshold = (np.insert(values, breaks, np.nan) for values in (movement, threshold))
    return np.insert(column_frames, breaks, column_frames[breaks]), movement, threshold


def _gaps(course: Course | None, first: int, last: int) -> Iterable[tuple[int, int]]:
    """List the first and last frame of each gap between values, both ends included."""
    if course is None:
        return []
    measured = course.frame[np.isfinite(course.movement)]
    step = _frame_step(course.frame)
    ends = np.array([first - step, *measured, last + step])
    before = np.flatnonzero(np.diff(ends) > _GAP_FACTOR * step)
    # A value stands for the frames up to the next one that the spotter looks index.
    return [(int(ends[index] + step), int(ends[index + 1] - 1)) for index in before]


def _frame_step(frame: np.ndarray) -> float:
    """Return the distance between two frames that the spotter looks at."""
    return float(np.median(np.diff(frame))) if len(frame) > 1 else 1.0
