"""The pictures of a run: confusion matrix and training curves. No global state of pyplot."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Okabe and Ito's blue and vermilion: told apart by every common form of colour vision.
BLUE = "#0072b2"
VERMILION = "#d55e00"
_INK = "#1d2733"
_FAINT = "#5b6876"
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
    figure = _figure(2 * side, side + 0.4)
    left, right = figure.subplots(1, 2)
    _matrix(left, rates, [[f"{cell}" for cell in row] for row in counts], class_names)
    _matrix(right, rates, [[f"{cell:.0%}" for cell in row] for row in rates], class_names)
    left.set_title("clips", loc="left", color=_INK)
    right.set_title("share of the true class", loc="left", color=_INK)
    left.set_ylabel("true class", color=_FAINT)
    return figure


def curves(epochs: list[dict], classes: int) -> Figure:
    """`loss` beside `accuracy`."""
    figure = _figure(9.6, 3.6)
    left, right = figure.subplots(1, 2)
    _draw_loss(left, epochs)
    _draw_accuracy(right, epochs, classes)
    return figure


def loss(epochs: list[dict]) -> Figure:
    """Training loss, the sum over the heads: mean over the folds, and all folds' range.

    Args:
      epochs: the log's epoch events, with `epoch`, `loss` and `fold_loss`.
    """
    figure = _figure(4.8, 3.4)
    _draw_loss(figure.subplots(), epochs)
    return figure


def accuracy(epochs: list[dict], classes: int) -> Figure:
    """Accuracy on the training clips, beside chance.

    Args:
      epochs: the log's epoch events, with `epoch`, `accuracy` and, where it was logged,
        `fold_accuracy`.
      classes: how many.
    """
    figure = _figure(4.8, 3.4)
    _draw_accuracy(figure.subplots(), epochs, classes)
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file: the same bytes for the same figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI, metadata={"Software": None})
    return file.getvalue()


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.12)
    FigureCanvasAgg(figure)
    return figure


def _matrix(axes: Axes, rates: np.ndarray, texts: list[list[str]], names: list[str]) -> None:
    axes.imshow(rates, cmap="Blues", vmin=0, vmax=1)
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            ink = "white" if rates[row, column] > 0.65 else _INK
            axes.text(column, row, text, ha="center", va="center", color=ink)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, names)
    axes.set_xlabel("answer", color=_FAINT)
    axes.tick_params(length=0, colors=_INK)
    axes.spines[:].set_visible(False)


def _draw_loss(axes: Axes, epochs: list[dict]) -> None:
    _line(axes, epochs, "loss", "fold_loss", BLUE)
    axes.set_ylim(bottom=0)
    _finish(axes, "training loss, sum of the heads")


def _draw_accuracy(axes: Axes, epochs: list[dict], classes: int) -> None:
    axes.axhline(1 / classes, color=_FAINT, linewidth=1, linestyle=(0, (4, 3)), label="chance")
    _line(axes, epochs, "accuracy", "fold_accuracy", VERMILION)
    axes.set_ylim(0, 1.02)
    _finish(axes, "accuracy on training clips")


def _line(axes: Axes, epochs: list[dict], mean: str, folds: str, color: str) -> None:
    """The mean over the folds, and their range where the log has every fold."""
    steps = [epoch["epoch"] for epoch in epochs]
    if all(folds in epoch for epoch in epochs):
        low, high = ([limit(epoch[folds]) for epoch in epochs] for limit in (min, max))
        axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0, label="all folds")
    marker = "o" if len(steps) == 1 else None
    values = [epoch[mean] for epoch in epochs]
    axes.plot(steps, values, color=color, linewidth=2, marker=marker, label="mean of folds")


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", color=_INK)
    axes.set_xlabel("epoch", color=_FAINT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=_FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#c3cad2")
    axes.legend(framealpha=0.9, edgecolor="none", labelcolor=_INK)
