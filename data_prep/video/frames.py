"""Frames in files, read when they are asked for: a folder of pictures, or a video."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_prep.common.errors import UserError
from data_prep.video.decoder import MAX_FPS, MIN_FPS, Decoder, Times, open_video
from data_prep.video.pictures import SUFFIXES, Images, frame_paths


class Video:
    """A video's frames, RGB with 8 bits: decoded in order, and never more than one held.

    They are counted when `len` is first asked for, in a pass of its own that keeps none of them.
    """

    def __init__(self, path: Path, start: int = 0, stop: int | None = None):
        """Take the frames from `start` to `stop - 1`, or to where the video ends."""
        self._path, self._start, self._stop = path, start, stop

    @property
    def numbers(self) -> Sequence[int]:
        """Of each frame; the video's first one is 0."""
        return range(self._start, self._start + len(self))

    @property
    def fps(self) -> float | None:
        """Frames a second by the frames' own times; None when these make no sense."""
        return Times(self._times).fps

    @property
    def files(self) -> tuple[Path, ...]:
        """From which these frames are read."""
        return (self._path,)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of these frames."""
        end = self._start + len(self)
        lost = [] if end == self._stop else self._decoder.truncation_notes(end)
        return (*lost, *Times(self._times).unevenness_notes())

    def part(self, start: int, stop: int) -> Video:
        """The frames at the indices `start` to `stop - 1`."""
        part = Video(self._path, self._start + start, self._start + min(stop, len(self)))
        part._times = self._times[start:stop]  # no second pass to count them
        return part

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, index: int) -> np.ndarray:
        """Decode the video up to one frame.

        Raises:
          UserError: it cannot be decoded.
        """
        position = range(len(self))[index]
        return next(self._decode(position, position + 1))

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._decode(0, len(self))

    def _decode(self, start: int, stop: int) -> Iterator[np.ndarray]:
        """The frames at the indices `start` to `stop - 1`."""
        frames = self._decoder.frames(self._start + start)
        for _ in range(start, stop):
            frame = next(frames, None)
            if frame is None:
                raise UserError(
                    f"{self._path} has changed while it was read. Run the command again."
                )
            yield frame.pixels

    @functools.cached_property
    def _decoder(self) -> Decoder:
        return open_video(self._path)

    @functools.cached_property
    def _times(self) -> np.ndarray:
        """When each frame is shown, ms; this is what counts the frames."""
        return self._decoder.times(self._stop)[self._start :]


def open_frames(path: Path, stop: int | None = None) -> Images | Video:
    """The frames of a folder or of a video, of which none is read yet.

    Args:
      path: a folder of pictures, ordered by the last integer of their names, or a video file.
      stop: the number of a video's frame at which to stop, as if the video ended there.

    Raises:
      UserError: there is no such file or folder, or it holds fewer than two frames.
    """
    if path.is_dir():
        return Images(frame_paths(path))
    if not path.is_file():
        raise UserError(f"{path}: there is no such video or folder of frames. Correct the path.")
    if path.suffix.lower() in SUFFIXES:
        raise UserError(
            f"{path}: this is one picture; movement needs two at least. Give a video, or the "
            "folder that holds the frames."
        )
    return Video(path, stop=stop)


def resolve_fps(path: Path, user_fps: float | None, file_fps: float | None) -> float:
    """Return how many frames a second there are.

    Args:
      path: of the video, for an error.
      user_fps: by the user, who knows best.
      file_fps: by the file.

    Raises:
      UserError: nobody says it, or the user gives a rate that no camera has.
    """
    fps = file_fps if user_fps is None else user_fps
    if fps is None:
        raise UserError(
            f"{path} does not say how many frames a second it has. Fix: --fps=200, for example."
        )
    if not MIN_FPS <= fps <= MAX_FPS:
        raise UserError(f"--fps={fps:g}: it must be {MIN_FPS:g} to {MAX_FPS:g} a second.")
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
    """Turn the marks, which are frame numbers, into indices of `numbers`.

    Args:
      numbers: of the frames that are there, rising.
      onset: None is the first frame.
      apex: None is not known.
      offset: None is the last frame.
      source: the clip, for an error.
      remedy: what to do about marks that cannot be, for an error.

    Raises:
      UserError: the marks are not in their order, or frames between them are absent.
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
