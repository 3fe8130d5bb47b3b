"""A Matplotlib figure laid out in pixels, without the global state of pyplot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Colours of Okabe and Ito. People with any common form of colour vision can tell them apart.
APEX = "#d55e00"
MARK = "#56b4e9"
INK = "#1d2733"
FAINT = "#5b6876"

DPI = 100


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A figure whose parts are placed in pixels from its upper left corner."""

    figure: Figure

    @classmethod
    def blank(cls, width: float, height: float) -> Canvas:
        """Create an empty white canvas.

        Args:
          width: Width, px; a fraction is dropped.
          height: Height, px; a fraction is dropped.
        """
        # Without the extra hundredth of a pixel, rounding would lose the last row of some sizes.
        inches = ((int(width) + 0.01) / DPI, (int(height) + 0.01) / DPI)
        figure = Figure(figsize=inches, dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        return cls(figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Add axes without ticks and frame at a position in px."""
        bounds = self.figure.bbox
        low = 1 - (top + height) / bounds.height
        axes = self.figure.add_axes(
            (left / bounds.width, low, width / bounds.width, height / bounds.height), anchor="NW"
        )
        axes.tick_params(length=0, colors=FAINT, labelsize=9)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    def image(self, left: float, top: float, side: float, image: np.ndarray, **style: Any) -> Axes:
        """Draw a square picture with a thin border.

        Args:
          left: Left edge, px.
          top: Upper edge, px.
          side: Side of the picture, px.
          image: Grey `[h, w]` in 0..255, or RGB `[h, w, 3]`.
          **style: Arguments of `Axes.imshow`. They may set another range or colour map for grey.

        Returns:
          The axes of the picture.
        """
        axes = self.axes(left, top, side, side)
        axes.imshow(image, **{"cmap": "gray", "vmin": 0, "vmax": 255, **style})
        axes.spines[:].set(visible=True, color="#c3cad2", linewidth=0.8)
        return axes

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Write plain text.

        Args:
          left: Left end of the text, px.
          top: Baseline of the text, px below the upper edge of the figure.
          text: Text.
          **style: Arguments of `Figure.text`. They may set another alignment.
        """
        bounds = self.figure.bbox
        style = {"color": INK, "fontsize": 9.5, "va": "baseline", "parse_math": False, **style}
        self.figure.text(left / bounds.width, 1 - top / bounds.height, text, **style)

    def heading(self, left: float, top: float, title: str, details: str) -> None:
        """Write the title of a part and, on the line below, its details."""
        self.text(left, top, title, fontweight="bold", fontsize=11)
        self.text(left, top + 19, details, color=FAINT)

    def pixels(self) -> np.ndarray:
        """Render the figure, uint8 `[h, w, 3]` RGB."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def row_side(count: int, width: float, gap: float) -> float:
    """Return the width of each of `count` pictures in a row.

    Args:
      count: Number of pictures.
      width: Width of the row, px.
      gap: Distance between two pictures, px.
    """
    return (width - gap * (count - 1)) / count


def name_marks(axes: Axes, height: float, places: Mapping[str, float | None]) -> None:
    """Write 'onset', 'apex' and 'offset' above their positions on the time axis.

    The apex stands higher. Onset and offset extend inwards, so that they stay on the page.

    Args:
      axes: Axes with time from left to right.
      height: Height above which the texts stand, in data units.
      places: Position of each mark, or None if it is unknown.
    """
    styles = {
        "onset": ("left", (3, 4), INK),
        "apex": ("center", (0, 16), APEX),
        "offset": ("right", (-3, 4), INK),
    }
    for name, (side, shift, color) in styles.items():
        position = places[name]
        if position is not None:
            style = {"ha": side, "color": color, "fontsize": 9, "annotation_clip": False}
            axes.annotate(name, (position, height), shift, textcoords="offset points", **style)
