"""Picture of a clip's spatio-temporal slices (eq. 3.1), with its key frames."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data_prep.clip import Clip
from data_prep.preview.canvas import APEX, FAINT, MARK, Canvas, name_marks, row_side
from data_prep.stages import keyframes


def figure(clip: Clip, key_frames: Clip) -> Figure:
    """Draw a clip's spatio-temporal slices (eq. 3.1) and mark its key frames in them.

    Args:
      clip: Clip that the key frames were selected from.
      key_frames: Clip that `keyframes.select` returned for it.
    """
    canvas = Canvas.blank(900, 460)
    draw(canvas, (110, 60, 750, 340), clip, key_frames)
    return canvas.figure


def draw(
    canvas: Canvas, box: tuple[float, float, float, float], clip: Clip, key_frames: Clip
) -> None:
    """Draw the slices one below the other over a common time axis.

    Args:
      canvas: Canvas to draw on.
      box: Left, top, width and height of the images, px. The texts stand context it.
      clip: Clip that the key frames were selected from.
      key_frames: Clip that `keyframes.select` returned for it.
    """
    left, top, width, height = box
    lines = keyframes.slices(clip)
    side = row_side(len(lines), height, 6)
    context = max(2, (clip.offset - clip.onset) // 6)
    first, last = max(0, clip.onset - context), min(len(clip.frames) - 1, clip.offset + context)
    ends = clip.first - 0.5, clip.first + len(clip.frames) - 0.5
    for row, line in enumerate(lines):
        row_top = top + row * (side + 6)
        axes = canvas.axes(left, row_top, width, side)
        extent = (*ends, line.image.shape[1] - 0.5, -0.5)
        axes.imshow(line.image.T, cmap="gray", vmin=0, vmax=255, aspect="auto", extent=extent)
        _draw_key_frame_lines(axes, key_frames)
        axes.set_xlim(clip.first + first - 0.5, clip.first + last + 0.5)
        if row == 0:
            name_marks(axes, axes.get_ylim()[1], _mark_positions(key_frames))
        canvas.text(left - 10, row_top + side / 2 + 4, line.name, ha="right")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("frame", color=FAINT, fontsize=9)


def frame_numbers(key_frames: Clip) -> np.ndarray:
    """Return the number of each key frame in the source, `[t]`.

    Key frames of TIM lie between frames and have fractional numbers.
    """
    return key_frames.first + np.asarray(key_frames.positions, np.float64)


def _draw_key_frame_lines(axes: Axes, key_frames: Clip) -> None:
    """Draw a line at each key frame, and a thick one at the apex."""
    axes.vlines(frame_numbers(key_frames), *axes.get_ylim(), color=MARK, linewidth=1)
    apex = _mark_positions(key_frames)["apex"]
    if apex is not None:
        axes.axvline(apex, color=APEX, linewidth=2.2)


def _mark_positions(key_frames: Clip) -> dict[str, float | None]:
    """Return the numbers of onset, apex and offset in the source."""
    numbers = frame_numbers(key_frames)
    marks = {name: getattr(key_frames, name) for name in ("onset", "apex", "offset")}
    return {name: None if index is None else float(numbers[index]) for name, index in marks.items()}
