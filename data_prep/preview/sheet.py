"""Sheet of a clip: the results of its preprocessing on one page."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.config import PAPER_SHIFT, PAPER_SIZE
from data_prep.preview import flow_colour, slices
from data_prep.preview.canvas import APEX, FAINT, INK, MARK, Canvas, row_side
from data_prep.stages import keyframes

# px of the page.
WIDTH, EDGE, GAP = 1600, 40, 28
FRAME, CROP = 520, 372  # Maximum width of the onset frame, and side of the crop.
MAX_KEY_FRAME_SIDE, MAX_FLOW_SIDE = 150, 210
LEGEND = 190  # Width of the column of the legends.
HEAD = 36  # From the first line of a heading down to its pictures.
MAX_KEY_FRAMES, MAX_FLOWS = 17, 6  # Numbers of pictures that are shown.
# px, px per px. Colour scales reach at least this far, so that noise does not look like movement.
MIN_REACH, MIN_STRAIN = 0.1, 0.005


def sheet(history: Mapping[str, Clip], record: Mapping[str, Any]) -> Figure:
    """Draw a clip's sheet: onset frame, crop, slices, key frames, flow and strain.

    Args:
      history: Clip as read, under 'source', and after each stage, under the name of the stage, in
        the order of the stages. 'face' and 'keyframes' are among them.
      record: Record of the clip, with the fields of `data_prep.pipeline.record`.

    Returns:
      The figure, 1600 px wide at 100 dots per inch.
    """
    apex = record["apex_index"]
    key_frames = choose_indices(len(record["frames"]), apex, MAX_KEY_FRAMES)
    # The flow at index i leads to key frame i + 1.
    flow_ends = [1 + step for step in choose_indices(len(record["flow"]), apex - 1, MAX_FLOWS)]
    small = min(MAX_KEY_FRAME_SIDE, row_side(len(key_frames), WIDTH - 2 * EDGE, 4))
    large = min(MAX_FLOW_SIDE, row_side(len(flow_ends), WIDTH - 2 * EDGE - LEGEND, 12))
    last = history[list(history)[-1]]
    notes = [line for note in last.notes for line in textwrap.wrap(note, 190)]
    tops = np.cumsum([122, CROP + 96, small + 104, large + 96, large + 70])
    canvas = Canvas.blank(WIDTH, tops[-1] + 20 * len(notes))
    _draw_title(canvas, history, record)
    left = EDGE + _draw_onset_frame(canvas, tops[0], history) + GAP
    _draw_crop(canvas, left, tops[0], history["face"])
    left += CROP + GAP
    _draw_slices(canvas, left, tops[0], clip_before(history, "keyframes"), history["keyframes"])
    _draw_key_frames(canvas, tops[1], small, key_frames, history["keyframes"], record["frames"])
    _draw_flows(canvas, tops[2], large, flow_ends, record)
    _draw_strains(canvas, tops[3], large, flow_ends, record)
    for row, note in enumerate(notes):
        canvas.text(EDGE, tops[4] + 20 * row, note)
    return canvas.figure


def clip_before(history: Mapping[str, Clip], stage: str) -> Clip:
    """Return the clip that a stage received."""
    names = list(history)
    return history[names[names.index(stage) - 1]]


def choose_indices(count: int, required: int, max_count: int) -> list[int]:
    """Choose at most `max_count` of `count` indices, evenly spaced.

    The last index is always chosen, and so is the required one.

    Args:
      count: Number of indices.
      required: Index that must be chosen; a number that is no index is ignored.
      max_count: Maximum number to choose, at least 2.
    """
    chosen = np.linspace(0, count - 1, min(count, max_count)).round().astype(int)
    if 0 <= required < count and required not in chosen:
        chosen[np.abs(chosen[:-1] - required).argmin()] = required
    return chosen.tolist()


def _draw_title(canvas: Canvas, history: Mapping[str, Clip], record: Mapping[str, Any]) -> None:
    clip = history["source"]
    canvas.text(EDGE, 48, clip.name, fontsize=17, fontweight="bold")
    apex = "unknown" if record["apex"] < 0 else str(clip.first + record["apex"])
    if record["apex_estimated"]:
        apex += " (estimated)"
    facts = (
        *dict.fromkeys(word for word in (clip.label, clip.emotion) if word),
        f"onset {clip.first + clip.onset}, apex {apex}, offset {clip.first + clip.offset}",
        f"frames {clip.first} to {clip.first + len(clip.frames) - 1} read",
        f"{clip.fps:g} frames a second",
        f"{1000 * (clip.offset - clip.onset) / clip.fps:.0f} ms from onset to offset",
    )
    canvas.text(EDGE, 74, "   ·   ".join(facts), color=FAINT, fontsize=10.5)
    stages = "stages " + ", ".join([*list(history)[1:], "flow"])
    canvas.text(EDGE, 94, stages, color=FAINT, fontsize=10.5)


def _draw_onset_frame(canvas: Canvas, top: float, history: Mapping[str, Clip]) -> float:
    """Draw the onset frame with the outline of the crop, and return its width, px."""
    clip, face = history["source"], history["face"]
    frame = np.clip(clip.frames[clip.onset], 0, 255).astype(np.uint8)
    height, width = frame.shape[:2]
    drawn_width = min(FRAME, CROP * width / height)
    canvas.heading(EDGE, top, "Onset frame", f"as read, {width} × {height} px")
    axes = canvas.axes(EDGE, top + HEAD, drawn_width, CROP)
    axes.imshow(frame, cmap="gray", vmin=0, vmax=255)
    back = cv2.invertAffineTransform(np.asarray(face.transform))
    for corners, linestyle in zip(_squares(face), ("--", "-"), strict=True):
        _draw_outline(axes, _transform_points(corners, back), linestyle)
    if face.landmarks is not None:
        _draw_landmarks(axes, _transform_points(face.landmarks, back), 6)
    return drawn_width


def _transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]


def _squares(face: Clip) -> tuple[np.ndarray, np.ndarray]:
    """Return the closed outlines of the crop and of the window in it, `[5, 2]`."""
    side = np.asarray(face.frames).shape[1]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]])
    margin = _margin(side)
    # The centres of pixels have integer coordinates.
    return corners * side - 0.5, corners * (side - 2 * margin) + margin - 0.5


def _draw_outline(axes: Axes, corners: np.ndarray, linestyle: str) -> None:
    view = axes.axis()
    axes.plot(*corners.T, color=MARK, linewidth=1.6, linestyle=linestyle)
    axes.axis(view)


def _draw_crop(canvas: Canvas, left: float, top: float, clip: Clip) -> None:
    frame = np.asarray(clip.frames)[clip.onset]
    side, size = len(frame), len(frame) - 2 * _margin(len(frame))
    canvas.heading(left, top, "Crop", f"{side} × {side} px, in it the window of {size} × {size}")
    axes = canvas.image(left, top + HEAD, CROP, frame)
    for line in keyframes.slices(clip):
        draw = axes.axvline if line.axis else axes.axhline
        draw(line.position, color="white", linewidth=1, linestyle=(0, (6, 4)), alpha=0.8)
    _draw_outline(axes, _squares(clip)[1], "-")
    if clip.landmarks is not None:
        _draw_landmarks(axes, clip.landmarks, 8)


def _margin(side: int) -> int:
    """Return the margin that `config.margin` gives a crop of this side."""
    return round(side * PAPER_SHIFT / (PAPER_SIZE + 2 * PAPER_SHIFT))


def _draw_landmarks(axes: Axes, points: np.ndarray, size: float) -> None:
    view = axes.axis()
    axes.scatter(*np.asarray(points).T, s=size, color=MARK, edgecolors=INK, linewidths=0.5)
    axes.axis(view)


def _draw_slices(canvas: Canvas, left: float, top: float, clip: Clip, key_frames: Clip) -> None:
    details = "the dashed lines of the crop in every frame (eq. 3.1), and the key frames"
    canvas.heading(left, top, "Slices", details)
    left += 80
    slices.draw(canvas, (left, top + 66, WIDTH - EDGE - left, CROP - 30), clip, key_frames)


def _draw_key_frames(
    canvas: Canvas, top: float, side: float, indices: list[int], clip: Clip, frames: np.ndarray
) -> None:
    numbers = slices.frame_numbers(clip)
    shown = "" if len(indices) == len(frames) else f", {len(indices)} of them here"
    details = f"{len(frames)} from onset to offset{shown}; below each its number in the source"
    canvas.heading(EDGE, top, "Key frames", details)
    for column, index in enumerate(indices):
        left = EDGE + column * (side + 4)
        axes = canvas.image(left, top + HEAD, side, frames[index, ..., 0])
        _name_key_frame(canvas, left, top + HEAD + side + 16, index, clip.apex)
        _highlight_apex(axes, index, clip.apex)
        number = f"{numbers[index]:.1f}".removesuffix(".0")  # Those of TIM lie between frames.
        canvas.text(left, top + HEAD + side + 32, number, color=FAINT, fontsize=9)


def _name_key_frame(canvas: Canvas, left: float, top: float, index: int, apex: int | None) -> None:
    at_apex = index == apex
    style = {"color": APEX, "fontweight": "bold"} if at_apex else {}
    canvas.text(left, top, f"{index}  apex" if at_apex else f"{index}", **style)


def _highlight_apex(axes: Axes, index: int, apex: int | None) -> None:
    if index == apex:
        axes.spines[:].set(color=APEX, linewidth=2.5)


def _draw_flows(
    canvas: Canvas, top: float, side: float, indices: list[int], record: Mapping[str, Any]
) -> None:
    fields = [np.asarray(record["flow"][index - 1], np.float32) for index in indices]
    lengths = [np.hypot(field[..., 0], field[..., 1]) for field in fields]
    reach = max(MIN_REACH, *(float(np.quantile(length, 0.99)) for length in lengths))
    canvas.heading(EDGE, top, "Optical flow", "to the key frame of the number below")
    apex = record["apex_index"]
    for column, (index, field, length) in enumerate(zip(indices, fields, lengths, strict=True)):
        left = EDGE + column * (side + 12)
        axes = canvas.image(left, top + HEAD, side, flow_colour.colours(field, reach))
        _highlight_apex(axes, index, apex)
        _name_key_frame(canvas, left, top + HEAD + side + 16, index, apex)
        longest = f"up to {length.max():.2f} px"
        canvas.text(
            left + side, top + HEAD + side + 16, longest, color=FAINT, ha="right", fontsize=9
        )
    _draw_wheel(canvas, EDGE + len(indices) * (side + 12) + 20, top + HEAD, reach)


def _draw_wheel(canvas: Canvas, left: float, top: float, reach: float) -> None:
    axes = canvas.axes(left, top, 130, 130)
    axes.imshow(flow_colour.legend(260))
    canvas.text(left, top + 150, "colour: direction", color=FAINT)
    canvas.text(left, top + 168, f"rim: {reach:.2f} px or more", color=FAINT)


def _draw_strains(
    canvas: Canvas, top: float, side: float, indices: list[int], record: Mapping[str, Any]
) -> None:
    fields = [flow_colour.strain(record["flow"][index - 1]) for index in indices]
    max_strain = max(MIN_STRAIN, *(float(np.quantile(field, 0.99)) for field in fields))
    canvas.heading(EDGE, top, "Optical strain", "of the same flow: how far the skin is stretched")
    for column, (index, field) in enumerate(zip(indices, fields, strict=True)):
        left = EDGE + column * (side + 12)
        axes = canvas.image(left, top + HEAD, side, field, cmap="magma", vmax=max_strain)
        _highlight_apex(axes, index, record["apex_index"])
    left = EDGE + len(indices) * (side + 12) + 20
    axes = canvas.axes(left, top + HEAD, 16, side)
    axes.imshow(np.linspace(1, 0, 256)[:, None], cmap="magma", aspect="auto")
    percent = f"{100 * max_strain:.{0 if max_strain >= 0.1 else 1}f}"
    canvas.text(left + 24, top + HEAD + 10, f"{percent} % or more", color=FAINT)
    canvas.text(left + 24, top + HEAD + side, "0 %", color=FAINT)
