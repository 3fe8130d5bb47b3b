"""The spatio-temporal slices of a clip (eq. 3.1) as a picture, with its key frames."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data_prep.clip import Clip
from data_prep.preview.canvas import APEX, FAINT, MARK, Canvas, name_marks, row_side
from data_prep.stages import keyframes


def figure(clip: Clip, key_frames: Clip) -> Figure:
    """Draw the spatio-temporal slices of a clip (eq. 3.1), and where its key frames lie in them.

    Args:
      clip: the clip that the key frames were chosen from.
      key_frames: what `keyframes.select` made of it.
    """
    canvas = Canvas.blank(900, 460)
    draw(canvas, (110, 60, 750, 340), clip, key_frames)
    return canvas.figure


def draw(
    canvas: Canvas, box: tuple[float, float, float, float], clip: Clip, key_frames: Clip
) -> None:
    """Draw the slices below each other over one axis of time.

    Args:
      canvas: to draw on.
      box: left, top, width and height of the images, px; the texts stand around it.
      clip: the clip that the key frames were chosen from.
      key_frames: what `keyframes.select` made of it.
    """
    left, top, width, height = box
    lines = keyframes.slices(clip)
    side = row_side(len(lines), height, 6)
    around = max(2, (clip.offset - clip.onset) // 6)
    first, last = max(0, clip.onset - around), min(len(clip.frames) - 1, clip.offset + around)
    ends = clip.first - 0.5, clip.first + len(clip.frames) - 0.5
    for row, line in enumerate(lines):
        above = top + row * (side + 6)
        axes = canvas.axes(left, above, width, side)
        extent = (*ends, line.image.shape[1] - 0.5, -0.5)
        axes.imshow(line.image.T, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=extent)
        _draw_key_frame_lines(axes, key_frames)
        axes.set_xlim(clip.first + first - 0.5, clip.first + last + 0.5)
        if row == 0:
            name_marks(axes, axes.get_ylim()[1], _mark_positions(key_frames))
        canvas.text(left - 10, above + side / 2 + 4, line.name, ha="right")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("frame", color=FAINT, fontsize=9)


def frame_numbers(key_frames: Clip) -> np.ndarray:
    """The number that the source gives to each key frame, `[t]`; TIM's lie between frames."""
    return key_frames.first + np.asarray(key_frames.positions, np.float64)


def _draw_key_frame_lines(axes: Axes, key_frames: Clip) -> None:
    """A line at each key frame, a thick one at the apex."""
    axes.vlines(frame_numbers(key_frames), *axes.get_ylim(), color=MARK, linewidth=1)
    apex = _mark_positions(key_frames)["apex"]
    if apex is not None:
        axes.axvline(apex, color=APEX, linewidth=2.2)


def _mark_positions(key_frames: Clip) -> dict[str, float | None]:
    """Where onset, apex and offset lie, by the source's numbers."""
    places = frame_numbers(key_frames)
    marks = {name: getattr(key_frames, name) for name in ("onset", "apex", "offset")}
    return {name: None if at is None else float(places[at]) for name, at in marks.items()}
