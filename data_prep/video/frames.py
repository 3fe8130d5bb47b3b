"""Frames in files, read when they are accessed: a folder of pictures, or a video."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_prep.common.errors import UserError
from data_prep.video.decoder import MAX_FPS, MIN_FPS, Decoder, Times, open_video
from data_prep.video.pictures import SUFFIXES, Images, frame_paths


class Video:
    """Frames of a video, RGB with 8 bits, decoded in order; at most one is in memory.

    The first call of `len` counts them, in a separate pass that keeps none of them.
    """

    def __init__(self, path: Path, start: int = 0, stop: int | None = None):
        """Select the frames from `start` to `stop - 1`, or to the end of the video.

        Args:
          path: Path of the video.
          start: Number of the first frame.
          stop: Number after the last frame, or None for the end of the video.
        """
        self._path, self._start, self._stop = path, start, stop

    @property
    def numbers(self) -> Sequence[int]:
        """Number of each frame; the first frame of the video is 0."""
        return range(self._start, self._start + len(self))

    @property
    def fps(self) -> float | None:
        """Frames per second by the frames' own times; None if these are not plausible."""
        return Times(self._times).fps

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that these frames are read from."""
        return (self._path,)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on these frames, one sentence each."""
        end = self._start + len(self)
        truncation = [] if end == self._stop else self._decoder.truncation_notes(end)
        return (*truncation, *Times(self._times).unevenness_notes())

    def part(self, start: int, stop: int) -> Video:
        """Return the frames at the indices `start` to `stop - 1`."""
        part = Video(self._path, self._start + start, self._start + min(stop, len(self)))
        part._times = self._times[start:stop]  # This avoids a second pass to count them.
        return part

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, index: int) -> np.ndarray:
        """Decode the video up to one frame and return this frame.

        Raises:
          UserError: The frame cannot be decoded.
        """
        position = range(len(self))[index]
        return next(self._decode(position, position + 1))

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._decode(0, len(self))

    def _decode(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """Yield the frames at the indices `start` to `stop - 1`."""
        frames = self._decoder.frames(self._start + start)
        for _ in range(start, stop):
            frame = next(frames, None)
            if frame is None:
                raise UserError(
                    f"{self._path}: it changed while it was read. Fix: run the command again."
                )
            yield frame.pixels

    @functools.cached_property
    def _decoder(self) -> Decoder:
        return open_video(self._path)

    @functools.cached_property
    def _times(self) -> np.ndarray:
        """Display time of each frame, ms. Their number is the number of frames."""
        return self._decoder.times(self._stop)[self._start :]


def open_frames(path: Path, stop: int | None = None) -> Images | Video:
    """Open a folder of pictures or a video, without reading a frame.

    Args:
      path: Folder of pictures, ordered by the last integer in their names, or a video file.
      stop: Number of the frame before which a video is taken to end; None is its own end.

    Raises:
      UserError: There is no such path, the folder has fewer than two frames, or the path is a
        single picture.
    """
    if path.is_dir():
        return Images(frame_paths(path))
    if not path.is_file():
        raise UserError(
            f"{path}: there is no such video or folder of frames. Fix: correct the path."
        )
    if path.suffix.lower() in SUFFIXES:
        raise UserError(
            f"{path}: this is one picture; at least two frames are needed. Fix: give a video, or "
            "the folder that holds the frames."
        )
    return Video(path, stop=stop)


def resolve_fps(path: Path, user_fps: float | None, file_fps: float | None) -> float:
    """Return the user's frame rate, or the file's if the user gives none.

    Args:
      path: Path of the video, for the error message.
      user_fps: Frames per second that the user gives, or None.
      file_fps: Frames per second that the file states, or None.

    Raises:
      UserError: Neither is given, or no camera has that rate.
    """
    fps = file_fps if user_fps is None else user_fps
    if fps is None:
        raise UserError(f"{path}: the frame rate is unknown. Fix: give it, for example --fps=200.")
    if not MIN_FPS <= fps <= MAX_FPS:
        raise UserError(f"--fps={fps:g}: it must be {MIN_FPS:g} to {MAX_FPS:g} frames per second.")
    return fps


def marks_to_indices(
    numbers: Sequence[int],
    onset: int | None,
    apex: int | None,
    offset: int | None,
    *,
    source: object,
    remedy: str,
) -> tuple[int, int | None, int]:
    """Convert marks from frame numbers to indices into `numbers`.

    Args:
      numbers: Numbers of the existing frames, ascending.
      onset: Frame number of the onset, or None for the first frame.
      apex: Frame number of the apex, or None if it is unknown.
      offset: Frame number of the offset, or None for the last frame.
      source: Clip that the error message names.
      remedy: Sentence that ends the error message and says how to correct the marks.

    Returns:
      The indices of the onset, the apex (None if it is unknown) and the offset.

    Raises:
      UserError: The marks are out of order, or frames between them are absent.
    """
    first = numbers[0] if onset is None else onset
    last = numbers[-1] if offset is None else offset
    if not first < last or (apex is not None and not first <= apex <= last):
        raise UserError(
            f"{source}: onset {first}, apex {apex}, offset {last} are not in this order. {remedy}"
        )
    position = {number: index for index, number in enumerate(numbers)}
    marked = (onset, apex, offset) != (None, None, None)
    absent = [number for number in range(first, last + 1) if number not in position]
    if absent and marked:
        raise UserError(
            f"{source}: {len(absent)} of the frames {first} to {last} are absent, first "
            f"{absent[0]}; there are {numbers[0]} to {numbers[-1]}. {remedy}"
        )
    return position[first], None if apex is None else position[apex], position[last]
