"""Figures of a run: style, confusion matrix, reliability diagram. No global pyplot state."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#1d2733"
FAINT = "#5b6876"
# Okabe and Ito's: told apart by every common form of colour vision.
BLUE, VERMILION, GREEN, ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"
_DPI = 150


def confusion(counts: np.ndarray, class_names: list[str]) -> Figure:
    """Plot the confusion counts beside the rates of each row. Rows are the true class.

    Args:
      counts: Confusion matrix `[c, c]`, int.
      class_names: Names of the c classes.
    """
    counts = np.asarray(counts)
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.62 * len(class_names)
    canvas = figure(2 * side, side + 0.4)
    left, right = canvas.subplots(1, 2)
    _plot_matrix(left, rates, [[f"{cell}" for cell in row] for row in counts], class_names)
    _plot_matrix(right, rates, [[f"{cell:.0%}" for cell in row] for row in rates], class_names)
    left.set_title("clips", loc="left", color=INK)
    right.set_title("share of the true class", loc="left", color=INK)
    left.set_ylabel("true class", color=FAINT)
    return canvas


def reliability(before: Mapping[str, Any], after: Mapping[str, Any] | None) -> Figure:
    """Plot accuracy against confidence, above a histogram of the confidence.

    Args:
      before: `calibration.Quality` of the raw probabilities, as stored in metrics.json.
      after: The same of the calibrated probabilities, if there are any.
    """
    canvas = figure(4.8, 5.8)
    above, below = canvas.subplots(2, 1, sharex=True, height_ratios=(3.6, 1))
    dashes = (0, (4, 3))
    above.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=dashes, label="as sure as right")
    _plot_reliability(above, below, before, VERMILION, "as answered", "o")
    if after is not None:
        _plot_reliability(above, below, after, BLUE, "calibrated", "s")
    above.set_title("share of right answers", loc="left", color=INK)
    above.set(xlim=(0, 1), ylim=(0, 1))
    above.legend(loc="upper left", framealpha=0.9, edgecolor="none", labelcolor=INK)
    below.set_title("answers", loc="left", color=INK, fontsize=10)
    below.set_xlabel("confidence: the answer's probability", color=FAINT)
    for axes in (above, below):
        axes.grid(color="#e3e7ec", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(length=0, colors=FAINT)
        axes.spines[:].set_visible(False)
    return canvas


def figure(width: float, height: float) -> Figure:
    """Create an empty figure of a size in inches."""
    canvas = Figure(figsize=(width, height), facecolor="white")
    canvas.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    FigureCanvasAgg(canvas)
    return canvas


def png(figure: Figure) -> bytes:
    """Encode a figure as PNG. The same figure gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()


def _plot_reliability(
    above: Axes, below: Axes, quality: Mapping[str, Any], color: str, label: str, marker: str
) -> None:
    bins = quality["bins"]
    confidence, accuracy = ([bin_[name] for bin_ in bins] for name in ("confidence", "accuracy"))
    ends = np.array([bin_["interval"] for bin_ in bins]).T
    above.vlines(confidence, *ends, color=color, linewidth=1.4, alpha=0.5)
    above.plot(
        confidence, accuracy, color=color, marker=marker, markersize=5, linewidth=1.2, label=label
    )
    counts = quality["histogram"]
    edges = np.linspace(0, 1, len(counts) + 1)
    below.stairs(counts, edges, color=color, alpha=0.22, fill=True)
    below.stairs(counts, edges, color=color, linewidth=1.4)


def _plot_matrix(axes: Axes, rates: np.ndarray, texts: list[list[str]], names: list[str]) -> None:
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            ink = "white" if rates[row, column] > 0.65 else INK
            axes.text(column, row, text, ha="center", va="center", color=ink)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    axes.set_xlabel("answer", color=FAINT)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
