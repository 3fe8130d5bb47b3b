"""The timeline of a video: when the face moves, and the class of each movement."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import MultipleLocator

from data_prep.common import files
from mser_jax.predict.answers import VideoAnswer
from mser_jax.predict.views import class_bars
from mser_jax.predict.views import common as answer_view
from mser_jax.predict.views.common import NO_FACE, NO_MOVEMENT, UNMEASURED, UNREAD
from mser_jax.report import plots, wording

_INCHES = 12.0
_COLUMNS = 1500  # pixel columns of the course
_STEPS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)  # s
_TICKS = 12  # time ticks, at most
_GRID = "#eaedf1"
_HATCHES = {NO_FACE: "////", UNREAD: "xxxx", UNMEASURED: "...."}
_LEVELS = (0.965, 0.9, 0.835)  # heights of labels, shares of the plot
_HEADROOM = 1.5  # The scale exceeds the highest peak by this factor: labels stand above.


def write(path: Path, answer: VideoAnswer) -> None:
    """Write the timeline as PNG.

    Raises:
      UserError: The file cannot be written.
    """
    with warnings.catch_warnings():
        # A name in a script that the font lacks shows boxes. The user needs no warning.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        png = plots.png(timeline(answer))
    with files.atomic_file(path) as part:
        part.write_bytes(png)


def timeline(answer: VideoAnswer) -> Figure:
    """Draw the spotter's course with the movements, and below it the class of each.

    The upper plot shows time from left to right. The lower plot has one column for each
    movement, in order, so that a hundred movements in two hours stay distinct. The number above a
    movement is that of its column. If marks were given, the plot shows only the marked movement
    and its surroundings.

    Args:
      answer: Answer for a video of any length, with any number of movements.
    """
    below = (0.6 + 0.3 * len(answer.class_names)) if answer.answers else 0.0
    above = 1.9 if answer.course is None else 3.6
    figure = plots.figure(_INCHES, above + below + 0.5)
    figure.supxlabel(wording.WARNING, x=0.012, ha="left", fontsize=8, color=plots.FAINT)
    if not answer.answers:
        axes = figure.subplots()
        _draw_movements(axes, answer)
        axes.text(0.5, 0.9, NO_MOVEMENT, ha="center", transform=axes.transAxes, color=plots.INK)
        return figure
    upper, lower = figure.subplots(2, 1, height_ratios=(above, below))
    labels = _draw_movements(upper, answer)
    class_bars.draw(lower, answer)
    _arrange_labels(figure, labels)
    return figure


def _draw_movements(axes: Axes, answer: VideoAnswer) -> list[Text]:
    """Draw the time axis with everything on it. Return the labels, which may overlap."""
    _draw_title(axes, answer)
    _set_time_axis(axes, answer)
    handles = [*_draw_course(axes, answer), *_draw_missing_spans(axes, answer)]
    if handles:
        style: dict[str, Any] = {"labelcolor": plots.FAINT, "fontsize": 9, "frameon": False}
        place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderpad": 0}
        axes.legend(handles=handles, ncols=5, borderaxespad=0.4, **place, **style)
    colours = answer_view.colours(answer.class_names)
    transform = axes.get_xaxis_transform()
    for name, colour in colours.items():
        movements = [movement for movement in answer.answers if movement.label == name]
        times = _seconds(
            answer, [(movement.onset, movement.apex, movement.offset) for movement in movements]
        )
        ranges = [(onset, offset - onset) for onset, _, offset in times]
        # The edge keeps half a second visible in two hours.
        axes.broken_barh(
            ranges, (0, 1), transform=transform, color=colour, alpha=0.28, linewidth=0.8
        )
        apexes = [apex for _, apex, _ in times]
        axes.vlines(apexes, 0, 1, transform=transform, color=colour, linewidth=1.1)
    return [
        axes.text(
            float(_seconds(answer, movement.apex)),
            _LEVELS[0],
            f"{number}  {movement.label} {movement.confidence:.0%}",
            transform=transform,
            parse_math=False,
            zorder=5,
            ha="center",
            va="center",
            fontsize=9,
            color=plots.INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.2},
        )
        for number, movement in enumerate(answer.answers, 1)
    ]


def _draw_title(axes: Axes, answer: VideoAnswer) -> None:
    name = Path(answer.source).name
    name = name if len(name) <= 60 else f"{name[:40]}...{name[-17:]}"
    count = wording.pluralize(len(answer.answers), "movement")
    title = f"{name}: {count}" if name else count
    pad = 6 if answer.course is None else 24  # above the legend
    axes.set_title(title, loc="left", color=plots.INK, fontsize=12, parse_math=False, pad=pad)


def _draw_course(axes: Axes, answer: VideoAnswer) -> list:
    """Draw the signal, unless marks were given, and return its legend handles."""
    if answer.course is None:
        axes.set(ylim=(0, 1), yticks=[])
        return []
    frame, movement, threshold = answer_view.downsample(answer.course, _COLUMNS)
    time = _seconds(answer, frame)
    lines = axes.plot(time, movement, color=plots.INK, linewidth=0.9, label="movement", zorder=3)
    style: dict[str, Any] = {"color": plots.FAINT, "linewidth": 0.8, "linestyle": (0, (4, 3))}
    lines += axes.plot(time, threshold, label="what a peak must exceed", **style)
    finite = [values[np.isfinite(values)] for values in (movement, threshold)]
    top = max((values.max() for values in finite if values.size), default=0.0)
    axes.set_ylim(0, _HEADROOM * (top or 1.0))
    axes.set_ylabel("movement, px of the crop", color=plots.FAINT)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    return lines


def _draw_missing_spans(axes: Axes, answer: VideoAnswer) -> list[Patch]:
    """Hatch the spans without a measurement and return their legend handles."""
    patches = []
    for reason, spans in answer_view.missing_spans(answer).items():
        ends = _seconds(answer, spans) + np.array([-0.5, 0.5]) / answer.fps
        style: dict[str, Any] = {"facecolor": "#f1f3f5", "edgecolor": "#aab2bb", "linewidth": 0.4}
        style["hatch"] = _HATCHES[reason]
        ranges = [(start, end - start) for start, end in ends]
        axes.broken_barh(ranges, (0, 1), transform=axes.get_xaxis_transform(), zorder=0.4, **style)
        patches.append(Patch(label=reason, **style))
    return patches


def _set_time_axis(axes: Axes, answer: VideoAnswer) -> None:
    """Set limits and ticks of the time axis: seconds, or m:ss from a minute on."""
    low, high = _seconds(answer, answer_view.span(answer))
    if answer.course is None and answer.answers:
        ends = _seconds(answer, [(movement.onset, movement.offset) for movement in answer.answers])
        start, end = ends.min(), ends.max()
        low, high = max(low, start - (end - start)), min(high, end + (end - start))
    half = 0.5 / answer.fps
    axes.set_xlim(low - half, high + half)
    step = next((step for step in _STEPS if (high - low) / step <= _TICKS), 7200)
    axes.xaxis.set_major_locator(MultipleLocator(step))
    digits = 0 if step >= 1 else 1 if step >= 0.1 else 2
    if high < 60:
        axes.xaxis.set_major_formatter(lambda second, _: f"{second:.{digits}f} s")
    else:
        axes.xaxis.set_major_formatter(lambda second, _: answer_view.format_time(second, digits))
    axes.tick_params(length=0, colors=plots.FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#c3cad2")
    axes.set_axisbelow(True)


def _arrange_labels(figure: Figure, labels: Sequence[Text]) -> None:
    """Place each label on the highest free level; shorten or drop the others."""
    figure.draw_without_rendering()
    axes = labels[0].axes
    assert axes is not None
    extent = axes.get_window_extent()
    ends = dict.fromkeys(_LEVELS, extent.x0 - 1.0)
    for label in labels:
        for text in (label.get_text(), label.get_text().split()[0]):
            label.set_text(text)
            width = label.get_window_extent().width + 4
            middle = axes.transData.transform((label.get_position()[0], 0))[0]
            left = min(max(middle - width / 2, extent.x0), extent.x1 - width)
            level = next((level for level in _LEVELS if ends[level] < left), None)
            if level is not None:
                ends[level] = left + width
                inside = axes.transData.inverted().transform((left + width / 2, 0))[0]
                label.set_position((inside, level))
                break
        else:
            label.remove()


def _seconds(answer: VideoAnswer, frames) -> np.ndarray:
    """Convert frame numbers to seconds from the first frame."""
    return (np.asarray(frames, float) - answer.first) / answer.fps
