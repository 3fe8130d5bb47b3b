"""Pictures of what the preprocessing makes of a clip: a sheet, and a film of its magnification."""

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

# px of the film. Width and height are even, as its coder wants them.
PANEL, EDGE = 400, 20
HEAD, FOOT = 44, 100  # above and below the pictures
LINE = 46  # from the pictures down to the line of time
MIN_SECONDS = (
    4.0  # that a film lasts at least: half a second of movement is over before one sees it
)
MIN_RATE, MAX_RATE = 5.0, 60.0  # frames a second


def write(
    folder: Path, history: Mapping[str, Clip], record: Mapping[str, Any], name: str | None = None
) -> list[Path]:
    """Write the sheet of a clip as PNG, and its magnified beside its original crop as MP4.

    Args:
      folder: is made where it is missing.
      history: the clip as read under 'source', and after each stage under the stage's name, in
        the order of the stages. Without a stage 'magnify' the film shows the crop alone.
      record: what the clip became, as `data_prep.pipeline.record` has it.
      name: of the files, without their ending; None is the clip's, 'dataset-subject-clip'.

    Returns:
      The paths of the sheet and of the film.

    Raises:
      UserError: a file cannot be written.
    """
    name = name or re.sub(r"[^\w.-]+", "-", history["source"].name).strip("-")
    picture, film = folder / f"{name}.png", folder / f"{name}.mp4"
    with _explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _save(sheet.sheet(history, record), picture)
        _write_film(film, history)
    return [picture, film]


def write_slices(path: Path, history: Mapping[str, Clip]) -> None:
    """Write the spatio-temporal slices of a clip (eq. 3.1) with its key frames as a picture.

    Args:
      path: of the PNG file; its folder is there.
      history: see `write`.

    Raises:
      UserError: the file cannot be written.
    """
    with _explain_write_errors(path):
        clip = sheet.clip_before(history, "keyframes")
        _save(slices.figure(clip, history["keyframes"]), path)


@contextlib.contextmanager
def _explain_write_errors(path: Path) -> Iterator[None]:
    """Say where a file could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path}: the preview cannot be written ({error}).\n"
            "Fix: make room, choose another folder, or switch the preview off."
        ) from error


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        # A name in a script that the font lacks shows boxes: no reason to trouble the user.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        figure.savefig(path, format="png", dpi=DPI)


def _write_film(path: Path, history: Mapping[str, Clip]) -> None:
    """Write the film, slowed down, with a marker that runs along a line of time."""
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
        raise OSError("OpenCV opens no MP4 file there")
    for index in range(count):
        image = background.copy()
        for place, shown in enumerate(clips.values()):
            left = EDGE + place * (PANEL + EDGE)
            image[HEAD : HEAD + PANEL, left : left + PANEL] = _panel(shown.frames[index])
        _draw_time_marker(image, (index + 0.5) / count)
        writer.write(image[..., ::-1])
    writer.release()


def _rate(count: int, fps: float) -> float:
    """Frames of the film a second: never faster than the clip, slower where it is short."""
    slow = min(max(count / MIN_SECONDS, MIN_RATE), MAX_RATE)
    return round(min(fps, slow), 2)  # MPEG-4 has but 16 bits for the denominator of a time


def _compared_clips(history: Mapping[str, Clip]) -> dict[str, Clip]:
    """The clips that are shown beside each other, by the titles that stand above them."""
    if "magnify" in history:
        return {"original": sheet.clip_before(history, "magnify"), "magnified": history["magnify"]}
    return {"original": sheet.clip_before(history, "keyframes")}


def _panel(frame: np.ndarray) -> np.ndarray:
    """A grey crop as a picture of the film, `[PANEL, PANEL, 1]`."""
    large = cv2.resize(frame, (PANEL, PANEL), interpolation=cv2.INTER_CUBIC)
    return np.rint(large).clip(0, 255).astype(np.uint8)[..., None]


def _background(clips: Mapping[str, Clip], clip: Clip, slowdown: float) -> np.ndarray:
    """All of the film that does not move, uint8 `[h, w, 3]` RGB."""
    width, height = EDGE + len(clips) * (PANEL + EDGE), HEAD + PANEL + FOOT
    canvas = Canvas.blank(width, height)
    for place, title in enumerate(clips):
        canvas.text(EDGE + place * (PANEL + EDGE), 28, title, fontsize=12, fontweight="bold")
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
    places = {name: None if at is None else first + at for name, at in marks.items()}
    name_marks(axes, 1, places)
    known = [place for place in places.values() if place is not None]
    axes.plot(known, np.ones(len(known)), "|", color=FAINT, markersize=10, clip_on=False)
    return canvas.pixels()


def _draw_time_marker(image: np.ndarray, share: float) -> None:
    """Draw the marker of time at a share of its line."""
    place = (round(EDGE + share * (image.shape[1] - 2 * EDGE)), HEAD + PANEL + LINE)
    cv2.circle(image, place, 6, (29, 39, 51), cv2.FILLED, cv2.LINE_AA)
