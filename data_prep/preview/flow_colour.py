"""Optical flow and strain as pictures."""

from __future__ import annotations

import numpy as np

from data_prep.common.strain import strain as optical_strain

# Arcs of the colour wheel, from red over yellow, green, cyan, blue and magenta back to red: number
# of colours, channel that changes, and whether it rises (1) or falls (-1) (Baker et al. 2007).
_ARCS = ((15, 1, 1), (6, 0, -1), (4, 2, 1), (11, 1, -1), (13, 0, 1), (6, 2, -1))
BEYOND = 0.75  # Brightness of movements that are longer than the wheel's radius.


def colours(flow: np.ndarray, reach: float) -> np.ndarray:
    """Colour each pixel by its movement: the hue is the direction, white is rest.

    Args:
      flow: Flow `[..., 2]` (u right, v down) in px.
      reach: Length of the movement that gets the full colour, px; longer ones are darker.

    Returns:
      uint8 `[..., 3]` RGB.

    References:
      Baker, Scharstein, Lewis, Roth, Black, Szeliski, "A database and evaluation methodology for
      optical flow", ICCV 2007.
    """
    flow = np.asarray(flow, np.float32) / reach
    wheel = _wheel()
    turn = np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi  # -1..1; to the right is red
    position = (turn + 1) / 2 * (len(wheel) - 1)
    before = position.astype(int)
    share = (position - before)[..., None]
    hue = (1 - share) * wheel[before] + share * wheel[(before + 1) % len(wheel)]
    length = np.hypot(flow[..., 0], flow[..., 1])[..., None]
    colour = np.where(length <= 1, 1 - length * (1 - hue), BEYOND * hue)
    return np.floor(255 * colour).astype(np.uint8)


def legend(side: int) -> np.ndarray:
    """Draw the colour wheel.

    Each pixel has the colour of a movement from the centre to this pixel.

    Args:
      side: Side of the picture, px.

    Returns:
      uint8 `[side, side, 3]` RGB, white outside the circle.
    """
    line = np.linspace(-1, 1, side)
    flow = np.stack(np.meshgrid(line, line), axis=-1)
    outside = np.hypot(flow[..., 0], flow[..., 1]) > 1
    return np.where(outside[..., None], np.uint8(255), colours(flow, 1.0))


def strain(flow: np.ndarray) -> np.ndarray:
    """Compute the optical strain of a stored flow `[h, w, 2]`, float32 `[h, w]`."""
    return optical_strain(np.asarray(flow, np.float32))


def _wheel() -> np.ndarray:
    """Return the 55 hues in order, `[55, 3]` in 0..1."""
    hues, colour = [], np.array([1.0, 0.0, 0.0])
    for count, channel, sign in _ARCS:
        for step in range(count):
            hue = colour.copy()
            hue[channel] += sign * np.floor(255 * step / count) / 255
            hues.append(hue)
        colour[channel] += sign
    return np.array(hues)
