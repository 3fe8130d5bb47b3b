"""The pictures of a run: how they look, and the confusion matrix. No global state of pyplot."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#1d2733"
FAINT = "#5b6876"
_DPI = 150


def confusion(counts: np.ndarray, class_names: list[str]) -> Figure:
    """Counts beside row rates; rows are the true class.

    Args:
      counts: `[c, c]` int.
      class_names: c names.
    """
    counts = np.asarray(counts)
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.2 + 0.62 * len(class_names)
    made = figure(2 * side, side + 0.4)
    left, right = made.subplots(1, 2)
    _matrix(left, rates, [[f"{cell}" for cell in row] for row in counts], class_names)
    _matrix(right, rates, [[f"{cell:.0%}" for cell in row] for row in rates], class_names)
    left.set_title("clips", loc="left", color=INK)
    right.set_title("share of the true class", loc="left", color=INK)
    left.set_ylabel("true class", color=FAINT)
    return made


def figure(width: float, height: float) -> Figure:
    """An empty figure, in inches."""
    made = Figure(figsize=(width, height), facecolor="white")
    made.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    FigureCanvasAgg(made)
    return made


def png(figure: Figure) -> bytes:
    """The figure as a PNG file: the same bytes for the same figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()


def _matrix(axes: Axes, rates: np.ndarray, texts: list[list[str]], names: list[str]) -> None:
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
