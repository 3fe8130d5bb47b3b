"""A figure laid out in pixels, for the pictures of the preview. No global state of pyplot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Colours of Okabe and Ito: told apart by every common form of colour vision.
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
        """An empty white one, of whole pixels."""
        # A hundredth of a pixel more, or rounding would lose the last row of some sizes.
        inches = ((int(width) + 0.01) / DPI, (int(height) + 0.01) / DPI)
        figure = Figure(figsize=inches, dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        return cls(figure)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without ticks and frame."""
        whole = self.figure.bbox
        low = 1 - (top + height) / whole.height
        axes = self.figure.add_axes(
            (left / whole.width, low, width / whole.width, height / whole.height), anchor="NW"
        )
        axes.tick_params(length=0, colors=FAINT, labelsize=9)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        return axes

    def image(self, left: float, top: float, side: float, image: np.ndarray, **style: Any) -> Axes:
        """A picture with a thin border; a grey one is in 0..255 unless the style says otherwise."""
        axes = self.axes(left, top, side, side)
        axes.imshow(image, **{"cmap": "gray", "vmin": 0, "vmax": 255, **style})
        axes.spines[:].set(visible=True, color="#c3cad2", linewidth=0.8)
        return axes

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Plain text on a line `top` px below the upper edge."""
        whole = self.figure.bbox
        style = {"color": INK, "fontsize": 9.5, "va": "baseline", "parse_math": False, **style}
        self.figure.text(left / whole.width, 1 - top / whole.height, text, **style)

    def heading(self, left: float, top: float, title: str, details: str) -> None:
        """A part's name and, on the line below, what a reader should know of it."""
        self.text(left, top, title, fontweight="bold", fontsize=11)
        self.text(left, top + 19, details, color=FAINT)

    def pixels(self) -> np.ndarray:
        """The drawing, uint8 `[h, w, 3]` RGB."""
        canvas = FigureCanvasAgg(self.figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def row_side(count: int, width: float, gap: float) -> float:
    """The width of each of `count` pictures that stand in a row."""
    return (width - gap * (count - 1)) / count


def name_marks(axes: Axes, height: float, places: Mapping[str, float | None]) -> None:
    """Write 'onset', 'apex' and 'offset' above their places on the axis; the apex stands higher.

    Args:
      axes: with the time from left to right.
      height: that the texts stand above, in data units.
      places: of each mark, or None when it is not known. Onset and offset are written inwards, so
        that they stay on the page.
    """
    styles = {
        "onset": ("left", (3, 4), INK),
        "apex": ("center", (0, 16), APEX),
        "offset": ("right", (-3, 4), INK),
    }
    for name, (side, shift, color) in styles.items():
        place = places[name]
        if place is not None:
            style = {"ha": side, "color": color, "fontsize": 9, "annotation_clip": False}
            axes.annotate(name, (place, height), shift, textcoords="offset points", **style)
