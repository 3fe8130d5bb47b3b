"""Pictures of a preprocessed clip: a sheet, and a film of its magnification."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.preview import sheet, slices
from data_prep.preview.canvas import DPI, FAINT, Canvas, name_marks

# px of the film. Its width and height must be even for the encoder.
PANEL, EDGE = 400, 20
HEAD, FOOT = 44, 100  # Space above and below the pictures.
LINE = 46  # From the pictures down to the time line.
MIN_SECONDS = 4.0  # Duration below which a film is slowed down; half a second is too fast to see.
MIN_RATE, MAX_RATE = 5.0, 60.0  # Frames per second of a film that is slowed down.


def write(
    folder: Path, history: Mapping[str, Clip], record: Mapping[str, Any], name: str | None = None
) -> list[Path]:
    """Write a clip's sheet as PNG, and a film of its original and magnified crop.

    Args:
      folder: Output folder, created if it does not exist.
      history: Clip as read, under 'source', and after each stage, under the name of the stage, in
        the order of the stages. Without a stage 'magnify' the film shows the crop alone.
      record: Record of the clip, with the fields of `data_prep.pipeline.record`.
      name: Name of both files without the suffix, or None for the name of the clip,
        'dataset-subject-clip'.

    Returns:
      The paths of the sheet (PNG) and of the film (MP4).

    Raises:
      UserError: A file cannot be written.
    """
    name = name or re.sub(r"[^\w.-]+", "-", history["source"].name).strip("-")
    picture, film = folder / f"{name}.png", folder / f"{name}.mp4"
    with _explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _save(sheet.sheet(history, record), picture)
        _write_film(film, history)
    return [picture, film]


def write_slices(path: Path, history: Mapping[str, Clip]) -> None:
    """Write a picture of a clip's spatio-temporal slices (eq. 3.1) and key frames.

    Args:
      path: Output PNG file. Its folder must exist.
      history: Clip as read and after each stage, as in `write`.

    Raises:
      UserError: The file cannot be written.
    """
    with _explain_write_errors(path):
        clip = sheet.clip_before(history, "keyframes")
        _save(slices.figure(clip, history["keyframes"]), path)


@contextlib.contextmanager
def _explain_write_errors(path: Path) -> Iterator[None]:
    """Raise UserError with a remedy instead of an OSError of the block."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: the preview cannot be written ({error}).\n"
            "Fix: free disk space, choose another folder, or switch the preview off."
        ) from error


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        # The font may lack letters of a clip's name. They appear as boxes, which needs no warning.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure.savefig(path, format="png", dpi=DPI)


def _write_film(path: Path, history: Mapping[str, Clip]) -> None:
    """Write the film, with a marker that runs along a time line."""
    clips = _compared_clips(history)
    clip = next(iter(clips.values()))
    count = len(clip.frames)
    rate = _rate(count, clip.fps)
    background = _background(clips, clip, clip.fps / rate)
    height, width = background.shape[:2]
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height), isColor=True
    )
    if not writer.isOpened():
        raise OSError("OpenCV cannot create an MP4 file there")
    for index in range(count):
        image = background.copy()
        for column, shown_clip in enumerate(clips.values()):
            left = EDGE + column * (PANEL + EDGE)
            image[HEAD : HEAD + PANEL, left : left + PANEL] = _panel(shown_clip.frames[index])
        _draw_time_marker(image, (index + 0.5) / count)
        writer.write(image[..., ::-1])
    writer.release()


def _rate(count: int, fps: float) -> float:
    """Return the film's frames per second: the clip's, or fewer if it is short."""
    slow = min(max(count / MIN_SECONDS, MIN_RATE), MAX_RATE)
    return round(min(fps, slow), 2)  # MPEG-4 has only 16 bits for the denominator of a time.


def _compared_clips(history: Mapping[str, Clip]) -> dict[str, Clip]:
    """Return the clips to show side by side, by their titles."""
    if "magnify" in history:
        return {"original": sheet.clip_before(history, "magnify"), "magnified": history["magnify"]}
    return {"original": sheet.clip_before(history, "keyframes")}


def _panel(frame: np.ndarray) -> np.ndarray:
    """Resize a grey crop to a picture of the film, uint8 `[PANEL, PANEL, 1]`."""
    large = cv2.resize(frame, (PANEL, PANEL), interpolation=cv2.INTER_CUBIC)
    return np.rint(large).clip(0, 255).astype(np.uint8)[..., None]


def _background(clips: Mapping[str, Clip], clip: Clip, slowdown: float) -> np.ndarray:
    """Draw all of the film that does not move, uint8 `[h, w, 3]` RGB."""
    width, height = EDGE + len(clips) * (PANEL + EDGE), HEAD + PANEL + FOOT
    canvas = Canvas.blank(width, height)
    for column, title in enumerate(clips):
        canvas.text(EDGE + column * (PANEL + EDGE), 28, title, fontsize=12, fontweight="bold")
    pace = "at its own speed" if slowdown < 1.05 else f"{slowdown:.2g} times slower"
    canvas.text(width - EDGE, 28, pace, ha="right", color=FAINT)
    axes = canvas.axes(EDGE, HEAD + PANEL + LINE, width - 2 * EDGE, 1)
    axes.spines["bottom"].set(visible=True, color=FAINT)
    unit, first = ("frame", clip.first) if clip.positions is None else ("key frame", 0)
    axes.set(xlim=(first - 0.5, first + len(clip.frames) - 0.5), ylim=(0, 1))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.set_xlabel(unit, color=FAINT, fontsize=9)
    axes.tick_params(pad=7)
    marks = {"onset": clip.onset, "apex": clip.apex, "offset": clip.offset}
    positions = {name: None if index is None else first + index for name, index in marks.items()}
    name_marks(axes, 1, positions)
    known_positions = [position for position in positions.values() if position is not None]
    axes.plot(
        known_positions,
        np.ones(len(known_positions)),
        "|",
        color=FAINT,
        markersize=10,
        clip_on=False,
    )
    return canvas.pixels()


def _draw_time_marker(image: np.ndarray, share: float) -> None:
    """Draw the time marker at a fraction of the time line."""
    centre = (round(EDGE + share * (image.shape[1] - 2 * EDGE)), HEAD + PANEL + LINE)
    cv2.circle(image, centre, 6, (29, 39, 51), cv2.FILLED, cv2.LINE_AA)
