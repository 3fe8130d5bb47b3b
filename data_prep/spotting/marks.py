"""Onset, apex and offset of a movement that rises and falls around a given moment."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter1d

SMOOTH = 0.02  # s, sigma of the Gaussian filter over the course
REST = 0.1  # A look is at rest if it lies within this fraction of the movement above the lowest.
LOW, HIGH = 0.25, 0.75  # fractions of the height between which the slope is measured


@dataclasses.dataclass(frozen=True)
class Marks:
    """Marks of a movement, as fractional indices of looks."""

    onset: float
    apex: float
    offset: float


def marks(movements: np.ndarray, apex: int, interval: int, rate: float) -> Marks | None:
    """Find where a movement begins, is largest, and ends.

    The course of the movement is 1 at the apex and 0 at rest. Between them it is 1 minus the
    fraction of the way from the apex back to rest. A movement begins slowly, and where it emerges
    from the noise depends on the noise. The onset is therefore the onset of a raised cosine that
    rises from a quarter to three quarters of its height as fast as this movement does. The offset
    is found likewise.

    Args:
      movements: Movement from the apex to each look (see `spotter`), `[t, 2 n]`.
      apex: Approximate index of the apex.
      interval: Number of looks from the apex to where the movement is taken to be at rest.
      rate: Looks per second.

    Returns:
      The marks, or None if the movement does not fall to half of its height on both sides.
    """
    last = len(movements) - 1
    # Twice the movement from the apex to rest.
    to_rest = movements[max(0, apex - interval)] + movements[min(last, apex + interval)]
    course = 1 - 2 * movements @ to_rest / (to_rest @ to_rest)
    course = gaussian_filter1d(course, SMOOTH * rate, mode="nearest")
    near = slice(max(0, apex - interval // 3), apex + interval // 3 + 1)
    peak = near.start + int(np.argmax(course[near]))
    rise = _time_to_rest(course[peak::-1])
    fall = _time_to_rest(course[peak:])
    if rise is None or fall is None:
        return None
    return Marks(max(0.0, peak - rise), _parabola_peak(course, peak), min(float(last), peak + fall))


def _time_to_rest(course: np.ndarray) -> float | None:
    """Return how many looks the course takes to fall to rest; None if it never does."""
    lowest = course.min()
    rest = int(np.argmax(course <= lowest + REST * (course[0] - lowest)))
    if rest == 0 or course[0] - lowest < 0.5:
        return None
    share = (course[: rest + 1] - course[rest]) / (course[0] - course[rest])
    high, low = _crossing(share, HIGH), _crossing(share, LOW)
    # A raised cosine crosses these heights at one third and at two thirds of its fall.
    return low + (low - high)


def _crossing(share: np.ndarray, height: float) -> float:
    """Return where a course that starts at 1 last falls through a height."""
    before = int(np.flatnonzero(share > height)[-1])
    high, low = share[before], share[before + 1]
    return before + float((high - height) / (high - low))


def _parabola_peak(course: np.ndarray, peak: int) -> float:
    """Return the top of the parabola through the highest value and its neighbours."""
    if not 0 < peak < len(course) - 1:
        return float(peak)
    before, top, after = course[peak - 1 : peak + 2]
    bend = before - 2 * top + after
    return peak + float(0.5 * (before - after) / bend) if bend < 0 else float(peak)
