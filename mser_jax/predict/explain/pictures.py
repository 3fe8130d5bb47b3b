"""The pictures of a movement's page: maps over a face, strain, and charts of weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from data_prep.common.cv import cv2
from mser_jax.report import plots
from mser_jax.report.plots import BLUE, VERMILION

_HEAT, _WEIGHT, _STRAIN = "inferno", "viridis", "magma_r"  # even steps look even
_MAX_OPACITY = 0.78  # how much of the face the strongest place of a map covers
_GRID = "#e3e7ec"


def png(image: np.ndarray) -> bytes:
    """Encode an image as PNG: uint8 `[h, w]` grey or `[h, w, 3]` RGB."""
    ordered = image if image.ndim == 2 else image[..., ::-1]
    return cv2.imencode(".png", np.ascontiguousarray(ordered))[1].tobytes()


def overlay_heat(face: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Overlay a map on a face. Higher values are brighter and more opaque.

    Args:
      face: Grey image `[h, w]`, uint8.
      heat: Map `[h, w]` in 0..1.

    Returns:
      RGB image `[h, w, 3]`, uint8.
    """
    opacity = _MAX_OPACITY * heat[..., None] ** 0.7
    return _blend(face, colormaps[_HEAT](heat), opacity)


def overlay_weights(face: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Overlay weights on a face, their own range stretched over the colours.

    Args:
      face: Grey image `[h, w]`, uint8.
      weights: Weights `[h', w']`, each at the centre of its cell.

    Returns:
      RGB image `[h, w, 3]`, uint8.
    """
    low, high = float(weights.min()), float(weights.max())
    stretched = (weights - low) / ((high - low) or 1.0)
    size = face.shape[1], face.shape[0]
    large = cv2.resize(stretched.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    return _blend(face, colormaps[_WEIGHT](large), np.full((1, 1, 1), 0.6))


def strain(values: np.ndarray, largest: float) -> np.ndarray:
    """Colour optical strain `[h, w]` up to `largest`. Return uint8 `[h, w, 3]` RGB."""
    return _to_uint8(colormaps[_STRAIN](np.clip(values / largest, 0, 1)))


def colour_bar(name: str) -> bytes:
    """Draw the colours of 'heat', 'weights' or 'strain' from low to high, as PNG."""
    colours = {"heat": _HEAT, "weights": _WEIGHT, "strain": _STRAIN}[name]
    return png(np.repeat(_to_uint8(colormaps[colours](np.linspace(0, 1, 256)))[None], 12, axis=0))


def attention_chart(weights: np.ndarray, apex: int | None) -> bytes:
    """Plot the attention over the time steps as bars, as PNG.

    Args:
      weights: Attention `[t]` in 0..1.
      apex: Index of the step that ends at the apex, or None if no step does.
    """
    figure = plots.figure(4.8, 3.2)
    axes = figure.subplots()
    steps = np.arange(1, len(weights) + 1)
    colours = [VERMILION if step == apex else BLUE for step in range(len(weights))]
    axes.bar(steps, weights, color=colours, width=0.72)
    if apex is not None:
        above = float(weights.max()) + 0.03
        axes.text(steps[apex], above, "apex", ha="center", color="#a34700", fontsize=9)
    axes.set_title("attention over time", loc="left", color=plots.INK)
    axes.set(ylim=(0, 1.12), yticks=(0, 0.5, 1), xlabel="time step")
    axes.xaxis.set_major_locator(MaxNLocator(9, integer=True, min_n_ticks=1))
    axes.xaxis.label.set_color(plots.FAINT)
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    _style_axes(axes)
    return plots.png(figure)


def branch_chart(title: str, weighted_branches: Sequence[tuple[str, float]]) -> bytes:
    """Plot the branch weights of an RC module as bars, as PNG.

    A line marks equal weights.

    Args:
      title: Name of the module.
      weighted_branches: Branches with their weights. Without softmax a weight may be negative.
    """
    figure = plots.figure(4.8, 1.2 + 0.3 * len(weighted_branches))
    axes = figure.subplots()
    names, weights = zip(*weighted_branches)
    rows = np.arange(len(names))[::-1]
    axes.barh(rows, weights, color=BLUE, height=0.68)
    axes.axvline(1 / len(names), color=plots.INK, linewidth=1.2, linestyle=(0, (3, 2)))
    for row, weight in zip(rows, weights):
        axes.annotate(
            f"{weight:.2f}",
            (max(weight, 0), row),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=plots.INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8},
        )
    axes.set_yticks(rows, names)
    axes.set_title(title, loc="left", color=plots.INK)
    axes.set_xlim(min(0, *weights), 1.18 * max(*weights, 1 / len(names)))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="x", color=_GRID, linewidth=0.8)
    _style_axes(axes)
    return plots.png(figure)


def _style_axes(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=plots.INK)
    axes.spines[:].set_visible(False)


def _blend(face: np.ndarray, colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    grey = face[..., None] / 255
    return _to_uint8((1 - opacity) * grey + opacity * colours[..., :3])


def _to_uint8(colours: np.ndarray) -> np.ndarray:
    return np.rint(255 * colours[..., :3]).astype(np.uint8)
