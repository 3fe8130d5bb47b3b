"""Training curves over the epochs, from the log. They show training clips only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mser_jax.report import plots
from mser_jax.report.plots import BLUE, GREEN, ORANGE, VERMILION

_PURPLE = "#cc79a7"
_HEADS = (BLUE, VERMILION, GREEN, ORANGE)


class Curve(NamedTuple):
    """A plot: its title and the function that draws it."""

    title: str
    draw: Callable[[Axes], None]


def overview(epochs: list[dict], classes: int) -> Figure:
    """Plot all curves in one figure.

    Args:
      epochs: Epochs as returned by `history.epochs`.
      classes: Number of classes.
    """
    curves = _curves(epochs, classes)
    rows = -(-len(curves) // 2)
    figure = plots.figure(9.6, 3.6 * rows)
    axes = figure.subplots(rows, 2).ravel()
    for curve, its_axes in zip(curves, axes):
        _draw(curve, epochs, its_axes)
    for unused in axes[len(curves) :]:
        unused.set_visible(False)
    return figure


def single_figures(epochs: list[dict], classes: int) -> Iterator[tuple[str, Figure]]:
    """Yield each curve as a title and a figure. The arguments are those of `overview`."""
    for curve in _curves(epochs, classes):
        figure = plots.figure(4.8, 3.4)
        _draw(curve, epochs, figure.subplots())
        yield curve.title, figure


def _curves(epochs: list[dict], classes: int) -> list[Curve]:
    """List the curves that the log has for every epoch and that show something."""

    def logged(name: str) -> bool:
        return all(epoch.get(name) is not None for epoch in epochs)

    curves = [
        Curve("training loss, sum of the heads", lambda axes: _plot_loss(axes, epochs)),
        Curve("accuracy on training clips", lambda axes: _plot_accuracy(axes, epochs, classes)),
    ]
    if logged("gradient_norm"):
        curves.append(Curve("norm of the gradient", lambda axes: _plot_gradient(axes, epochs)))
    if logged("head_choice") and len(epochs[0]["head_choice"]) > 1:
        curves.append(
            Curve("training clips by their surest head", lambda axes: _plot_heads(axes, epochs))
        )
    if logged("learning_rate") and len({epoch["learning_rate"] for epoch in epochs}) > 1:
        curves.append(Curve("learning rate", lambda axes: _plot_learning_rate(axes, epochs)))
    return curves


def _plot_loss(axes: Axes, epochs: list[dict]) -> None:
    _plot_folds(axes, epochs, "loss", BLUE)
    axes.set_ylim(bottom=0)


def _plot_accuracy(axes: Axes, epochs: list[dict], classes: int) -> None:
    dashes = (0, (4, 3))
    axes.axhline(1 / classes, color=plots.FAINT, linewidth=1, linestyle=dashes, label="chance")
    _plot_folds(axes, epochs, "accuracy", VERMILION)
    axes.set_ylim(0, 1.02)


def _plot_gradient(axes: Axes, epochs: list[dict]) -> None:
    _plot_folds(axes, epochs, "gradient_norm", GREEN)
    axes.set_ylim(bottom=0)


def _plot_heads(axes: Axes, epochs: list[dict]) -> None:
    shares = np.array([epoch["head_choice"] for epoch in epochs]).T
    for number, share in enumerate(shares, 1):
        _plot_line(axes, epochs, share, _HEADS[(number - 1) % len(_HEADS)], f"head {number}")
    axes.set_ylim(0, 1.02)


def _plot_learning_rate(axes: Axes, epochs: list[dict]) -> None:
    _plot_line(axes, epochs, [epoch["learning_rate"] for epoch in epochs], _PURPLE, "every fold")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:g}")


def _plot_folds(axes: Axes, epochs: list[dict], name: str, color: str) -> None:
    """Plot the mean over the folds, and their range if the log has every fold."""
    folds = f"fold_{name}"
    if all(folds in epoch for epoch in epochs):
        fold_values = [
            np.array(epoch[folds], float) for epoch in epochs
        ]  # a failed fold's None is NaN
        low, high = (
            [limit.reduce(values) for values in fold_values] for limit in (np.fmin, np.fmax)
        )
        steps = [epoch["epoch"] for epoch in epochs]
        axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0, label="all folds")
    means = np.array([epoch[name] for epoch in epochs], float)
    _plot_line(axes, epochs, means, color, "mean of folds")


def _plot_line(
    axes: Axes, epochs: list[dict], values: Sequence[float] | np.ndarray, color: str, label: str
) -> None:
    steps = [epoch["epoch"] for epoch in epochs]
    marker = "o" if len(steps) == 1 else None
    axes.plot(steps, values, color=color, linewidth=2, marker=marker, label=label)


def _draw(curve: Curve, epochs: list[dict], axes: Axes) -> None:
    curve.draw(axes)
    axes.set_title(curve.title, loc="left", color=plots.INK)
    axes.set_xlabel("epoch", color=plots.FAINT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=plots.FAINT)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#c3cad2")
    axes.legend(framealpha=0.9, edgecolor="none", labelcolor=plots.INK)
