"""The probability of each class at each movement, as small bars that can be compared."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from mser_jax.predict.answers import VideoAnswer
from mser_jax.predict.views import common as answer_view
from mser_jax.report import plots

_TRACK = "#eaedf1"  # colour of the track, as long as the bar of a certain class
_MIN_COLUMNS, _MAX_LABELLED = (
    3,
    12,
)  # columns at least; movements whose probabilities are also written
_MAX_NUMBERED = 30  # movements that have a number
_BAR_LENGTH, _BAR_WIDTH, _HEIGHT = (
    0.56,
    0.8,
    0.74,
)  # of a bar: lying, standing; shares of column and row


def draw(axes: Axes, answer: VideoAnswer) -> None:
    """Draw a row per class, a column per movement, a bar per probability.

    Args:
      axes: Empty axes, as wide as the page.
      answer: Answer with at least one movement.
    """
    names, count = answer.class_names, len(answer.answers)
    bars, width = (
        (_draw_horizontal_bars, _BAR_LENGTH)
        if count <= _MAX_LABELLED
        else (_draw_vertical_bars, _BAR_WIDTH)
    )
    for row, (name, colour) in enumerate(answer_view.colours(names).items()):
        shares = np.array([movement.probabilities[name] for movement in answer.answers])
        bars(axes, len(names) - 1 - row, np.ones(count), _TRACK)
        bars(axes, len(names) - 1 - row, shares, colour)
        for column, movement in enumerate(answer.answers if count <= _MAX_LABELLED else ()):
            weight = "bold" if movement.label == name else "normal"
            position = (column + 0.02 + _BAR_LENGTH, len(names) - 1 - row)
            text = f"{shares[column]:.0%}"
            axes.text(
                *position,
                text,
                va="center_baseline",
                fontsize=9,
                fontweight=weight,
                color=plots.INK,
            )
    axes.set_yticks(range(len(names)), names[::-1])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    numbers = range(0, count, -(-count // _MAX_NUMBERED))
    axes.set_xticks(
        [column + width / 2 for column in numbers], [str(index + 1) for index in numbers]
    )
    columns = max(count, _MIN_COLUMNS)
    axes.set(xlim=(-0.008 * columns, columns), ylim=(-0.6, len(names) - 0.4))
    calibrated = "" if answer.calibrated else " (not calibrated)"
    title = f"probability of each class, movement by movement{calibrated}"
    axes.set_title(title, loc="left", fontsize=10, color=plots.FAINT)
    axes.tick_params(length=0, colors=plots.INK)
    axes.spines[:].set_visible(False)


def _draw_horizontal_bars(axes: Axes, middle: float, shares: np.ndarray, colour: str) -> None:
    """Draw a row of bars that grow to the right."""
    x = np.arange(len(shares))[:, None] + _BAR_LENGTH * shares[:, None] * np.array([0, 0, 1, 1])
    y = np.broadcast_to(middle + _HEIGHT / 2 * np.array([-1, 1, 1, -1]), x.shape)
    _add_polygons(axes, x, y, colour)


def _draw_vertical_bars(axes: Axes, middle: float, shares: np.ndarray, colour: str) -> None:
    """Draw a row of bars that grow upwards."""
    x = np.arange(len(shares))[:, None] + _BAR_WIDTH * np.array([0, 0, 1, 1])
    y = middle - _HEIGHT / 2 + _HEIGHT * shares[:, None] * np.array([0, 1, 1, 0])
    _add_polygons(axes, x, y, colour)


def _add_polygons(axes: Axes, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    """Add all quadrangles as one artist, which is fast for any number of movements."""
    corners = [*np.stack([x, y], axis=-1)]
    axes.add_collection(PolyCollection(corners, facecolor=colour, linewidth=0))
