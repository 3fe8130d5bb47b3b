"""Onset, apex and offset of a movement that is known to come and go around a frame."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter1d

SMOOTH = 0.02  # s, sigma of the Gaussian over the course
REST = 0.1  # share of the movement by which a place may lie above the lowest one and be at rest
LOW, HIGH = 0.25, 0.75  # shares of the height whose places give the slope


@dataclasses.dataclass(frozen=True)
class Marks:
    """Places among the looks, not rounded."""

    onset: float
    apex: float
    offset: float


def marks(movements: np.ndarray, apex: int, interval: int, rate: float) -> Marks | None:
    """Where the movement begins, is largest, and ends.

    How far it has come at each look is the share of the whole way from the apex back to rest that
    is still to go. A movement begins slowly and gently, and where it leaves the noise depends on
    the noise. So its onset is where a raised cosine has it that rises as this one does between a
    quarter and three quarters of its height, and likewise the offset.

    Args:
      movements: `[t, 2 n]`, from the apex to each look.
      apex: index of the apex among them, about.
      interval: looks from the apex to where it is taken to be over.
      rate: looks a second.

    Returns:
      None when it does not fall to half of its height on both sides.
    """
    last = len(movements) - 1
    whole = movements[max(0, apex - interval)] + movements[min(last, apex + interval)]
    course = 1 - 2 * movements @ whole / (whole @ whole)
    course = gaussian_filter1d(course, SMOOTH * rate, mode="nearest")
    near = slice(max(0, apex - interval // 3), apex + interval // 3 + 1)
    peak = near.start + int(np.argmax(course[near]))
    rise = _time_to_rest(course[peak::-1])
    fall = _time_to_rest(course[peak:])
    if rise is None or fall is None:
        return None
    return Marks(max(0.0, peak - rise), _parabola_peak(course, peak), min(float(last), peak + fall))


def _time_to_rest(course: np.ndarray) -> float | None:
    """How many looks after the first one the course has come down; None when it never does."""
    lowest = course.min()
    rest = int(np.argmax(course <= lowest + REST * (course[0] - lowest)))
    if rest == 0 or course[0] - lowest < 0.5:
        return None
    share = (course[: rest + 1] - course[rest]) / (course[0] - course[rest])
    high, low = _crossing(share, HIGH), _crossing(share, LOW)
    # Of a raised cosine these lie at a third and at two thirds of the way.
    return low + (low - high)


def _crossing(share: np.ndarray, height: float) -> float:
    """Where a course that starts at 1 last falls through a height."""
    before = int(np.flatnonzero(share > height)[-1])
    high, low = share[before], share[before + 1]
    return before + float((high - height) / (high - low))


def _parabola_peak(course: np.ndarray, peak: int) -> float:
    """The top of the parabola through the highest place and its neighbours."""
    if not 0 < peak < len(course) - 1:
        return float(peak)
    before, top, after = course[peak - 1 : peak + 2]
    bend = before - 2 * top + after
    return peak + float(0.5 * (before - after) / bend) if bend < 0 else float(peak)
