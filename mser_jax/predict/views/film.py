"""A film of the video with the answers drawn in, written frame by frame."""

from __future__ import annotations

import bisect
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from data_prep.common import files, progress
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.spotting.found import Stretch
from data_prep.video.decoder import open_video
from mser_jax.predict.answers import Answer, VideoAnswer
from mser_jax.predict.views import common as answer_view
from mser_jax.predict.views import film_panel
from mser_jax.predict.views.film_panel import DARK, LIGHT, Panel

MIN_WIDTH, MAX_SIDE = 480, 1280  # px: smallest width, largest side


def write(
    path: Path, frames: Iterable[tuple[int, np.ndarray]], answer: VideoAnswer, title: str = "Film"
) -> None:
    """Write an MP4 of the frames, with the panel of `film_panel` below the picture.

    The window that the network sees has a thin outline where there is a face. During a movement
    the outline has the colour of the class and a label, and is thick at onset, apex and offset.
    Only one frame is held at a time.

    Args:
      path: Output file, replaced if it exists. After an error or Ctrl-C nothing new is left.
      frames: Number and image of each frame in order, uint8 `[h, w, 3]` RGB or `[h, w]` grey.
      answer: Answer for these frames.
      title: Title of the progress bar.

    Raises:
      UserError: There is no frame, or the film cannot be written.
    """
    with files.atomic_file(path, ".mp4") as part:
        count = 0
        with contextlib.ExitStack() as stack:
            for number, frame in progress.bar(frames, title, answer.frames, "frame", delay=1.0):
                if not count:
                    renderer = _FrameRenderer(answer, *frame.shape[:2])
                    film = stack.enter_context(_open_writer(part, answer.fps, renderer))
                film.write(renderer.render(number, frame)[..., ::-1])
                count += 1
        if not count:
            raise UserError(f"{path}: there is no frame to make a film of. Fix: give the video.")
        _check_frame_count(part, count)


@contextlib.contextmanager
def _open_writer(path: Path, fps: float, renderer: _FrameRenderer) -> Iterator[cv2.VideoWriter]:
    # MPEG-4 has only 16 bits for the denominator of times.
    rate = round(fps, 2) if fps < 600 else round(fps)
    writer = cv2.VideoWriter(
        str(path),
        cv2.VideoWriter.fourcc(*"mp4v"),
        rate,
        (renderer.width, renderer.height),
        isColor=True,
    )
    try:
        if not writer.isOpened():
            raise OSError("OpenCV cannot open an MP4 file there")
        yield writer
    finally:
        writer.release()


def _check_frame_count(path: Path, expected_count: int) -> None:
    """Check the number of frames in a file, as OpenCV does not report a full disk."""
    count = 0
    with contextlib.suppress(UserError):
        count = open_video(path).header_frame_count or 0
    if count != expected_count:
        raise OSError(f"{count} of {expected_count} frames were written; the disk may be full")


class _FrameRenderer:
    """The renderer of the film's frames.

    Attributes:
      width: Width in px.
      height: Height in px, panel included.
    """

    def __init__(self, answer: VideoAnswer, height: int, width: int):
        """Compute the layout for frames of one size."""
        scale = max(MIN_WIDTH / width, min(1.0, MAX_SIDE / max(height, width)))
        # The codec requires an even width and height.
        self.width, self._picture_height = (2 * round(scale * side / 2) for side in (width, height))
        self._scale = np.array([self.width / width, self._picture_height / height])
        self._panel = Panel(answer, self.width)
        self.height = self._picture_height + self._panel.height
        self._line_width = max(2, round(self.width / 320))
        colours = answer_view.colours(answer.class_names)
        self._colours = {name: film_panel.rgb(colour) for name, colour in colours.items()}
        self._answers_by_frame = _answers_by_frame(answer.answers)
        self._stretches = sorted(answer.stretches, key=lambda stretch: stretch.first)
        self._starts = [stretch.first for stretch in self._stretches]

    def render(self, number: int, frame: np.ndarray) -> np.ndarray:
        """Return a frame with everything drawn in, uint8 `[height, width, 3]` RGB."""
        image = np.empty((self.height, self.width, 3), np.uint8)
        picture = image[: self._picture_height]
        larger = self._scale[0] > 1
        method = cv2.INTER_CUBIC if larger else cv2.INTER_AREA
        resized = cv2.resize(frame, (self.width, self._picture_height), interpolation=method)
        picture[:] = resized if resized.ndim == 3 else resized[..., None]
        answer, stretch = self._answers_by_frame.get(number), self._stretch_at(number)
        corners = self._window_corners(stretch)
        if corners is not None:
            self._draw_window(picture, corners, number, answer)
        if answer is not None:
            # Without a window the tag is in the corner of the picture.
            self._draw_tag(picture, np.zeros(2) if corners is None else corners.min(axis=0), answer)
        self._panel.draw(
            image[self._picture_height :], number, answer, stretch.kind if stretch else ""
        )
        return image

    def _stretch_at(self, number: int) -> Stretch | None:
        index = bisect.bisect_right(self._starts, number) - 1
        within = index >= 0 and number <= self._stretches[index].last
        return self._stretches[index] if within else None

    def _window_corners(self, stretch: Stretch | None) -> np.ndarray | None:
        """Return the window's corners in the film, int `[4, 2]`, at pixel centres."""
        if stretch is None or stretch.window is None:
            return None
        return np.rint((stretch.window + 0.5) * self._scale - 0.5).astype(np.int32)

    def _draw_window(
        self, picture: np.ndarray, corners: np.ndarray, number: int, answer: Answer | None
    ) -> None:
        """Draw the outline of the window on a darker one, visible on any picture."""
        marked = answer is not None and number in (answer.onset, answer.apex, answer.offset)
        line = 2 * self._line_width if marked else self._line_width
        colour = LIGHT if answer is None else self._colours[answer.label]
        cv2.polylines(picture, [corners], True, DARK, line + 2, cv2.LINE_AA)
        cv2.polylines(picture, [corners], True, colour, line, cv2.LINE_AA)

    def _draw_tag(self, picture: np.ndarray, corner: np.ndarray, answer: Answer) -> None:
        """Draw class and confidence on a plate above a corner (x, y)."""
        line = film_panel.line_height(self.width)
        text = f"{answer.label} {answer.confidence:.0%}"
        colour = self._colours[answer.label]
        ink = DARK if np.dot(colour, (0.3, 0.59, 0.11)) > 120 else LIGHT
        plate = np.full((round(1.5 * line), self.width, 3), colour, np.uint8)
        width = film_panel.write_text(
            plate, (line / 2, 1.05 * line), text, 1.1 * line, ink, self.width - line
        )
        plate = plate[:, : round(width + line)]
        room = np.array(picture.shape[1::-1]) - plate.shape[1::-1]
        x, y = (corner - (0, len(plate))).clip(0, np.maximum(room, 0)).astype(int)
        picture[y : y + len(plate), x : x + plate.shape[1]] = plate[: len(picture)]


def _answers_by_frame(answers: Iterable[Answer]) -> dict[int, Answer]:
    """Map each frame to the movement that covers it, the nearest apex winning."""
    by_frame: dict[int, Answer] = {}
    for answer in answers:
        for frame in range(answer.onset, answer.offset + 1):
            other = by_frame.get(frame)
            if other is None or abs(frame - answer.apex) < abs(frame - other.apex):
                by_frame[frame] = answer
    return by_frame
