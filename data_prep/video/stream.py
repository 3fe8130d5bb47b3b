"""One pass over a video of any length, frame by frame, with at most one frame in memory.

`frames.Video` counts the frames of a video before it returns the first. A stream ends where
decoding ends, and reports problems on the way afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.video import pictures
from data_prep.video.decoder import Sizes, Times, open_video
from data_prep.video.frames import Images, open_frames, resolve_fps

PROBED_FRAMES = 50  # Frames whose times give the rate if the header does not.
# The numbers of a folder may have this many gaps, plus this many per frame. If there are more, the
# numbers do not count the frames one by one.
MAX_GAPS, MAX_GAPS_PER_FRAME = 3, 0.1

NumberedFrame = tuple[int, np.ndarray | None]


class Stream(Protocol):
    """Frames of a video in order, for one pass.

    Iteration yields the number of a frame and the frame, RGB `[h, w, 3]` in 0..255, or None instead
    of a frame that cannot be read. The numbers rise by one.

    Attributes:
      fps: Frames per second.
      expected_count: Expected number of frames, for a progress bar; None if it is unknown.
    """

    fps: float
    expected_count: int | None

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user, one sentence each; complete after the last frame."""
        ...

    def __iter__(self) -> Iterator[NumberedFrame]: ...


def open_stream(path: Path, fps: float | None = None, start: int = 0) -> Stream:
    """Open a video file or a folder of frames for one pass.

    Args:
      path: Folder of pictures, ordered by the last integer in their names, or a video file.
      fps: Frames per second, or None for the rate that the file states.
      start: Number of the first frame to yield. The first frame of a video has the number 0; a
        picture has the number in its name. The frames before are not yielded.

    Raises:
      UserError: There is no such video, it has fewer than two frames or no frame `start`, or its
        frame rate is unknown.
    """
    frames = open_frames(path)
    if isinstance(frames, Images):
        return _Folder(path, frames, fps, start)
    return _File(path, fps, start)


class _File:
    """Stream of a video file."""

    def __init__(self, path: Path, fps: float | None, start: int):
        self._decoder, self._start = open_video(path), start
        announced_count, header_fps = self._decoder.header_frame_count, self._decoder.fps
        # At least two frames are decoded, to check that the file is a video.
        times = self._decoder.times(PROBED_FRAMES if header_fps is None else 2)
        self.fps = resolve_fps(path, fps, Times(times).fps if header_fps is None else header_fps)
        self._is_fps_given = fps is not None
        self.expected_count: int | None = (
            None if announced_count is None else max(0, announced_count - start)
        )
        self._times, self._sizes, self._end = Times(), Sizes(), 0

    def __iter__(self) -> Iterator[NumberedFrame]:
        number = None
        for number, ms, pixels in self._decoder.frames(self._start):
            self._times.update(ms)
            self._sizes.update(number, pixels)
            yield number, pixels
        if number is None:
            raise UserError(
                f"{self._decoder.path}: there is no frame {self._start}; the video ends after "
                f"{len(self._decoder.times())} frames. Fix: correct the first frame."
            )
        self._end = number + 1

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user, as in `Stream`."""
        truncation = self._decoder.truncation_notes(self._end) if self._end else []
        # The video of a fast camera is often stored for slow playback. A rate that the user gives
        # is therefore not compared with the times of the frames.
        rate_notes = [] if self._is_fps_given else self._times.rate_notes(self.fps)
        return (*truncation, *self._times.unevenness_notes(), *rate_notes, *self._sizes.notes())


class _Folder:
    """Stream of a folder of pictures."""

    def __init__(self, path: Path, frames: Images, fps: float | None, start: int):
        self.fps = resolve_fps(path, fps, frames.fps)
        self._check_gaps(path, frames)
        self._paths = {
            number: file for number, file in zip(frames.numbers, frames.files) if number >= start
        }
        if not self._paths:
            raise UserError(
                f"{path}: frame {start} does not exist; the frames are numbered "
                f"{frames.numbers[0]} to {frames.numbers[-1]}. Fix: give a first frame in this "
                "range."
            )
        self._first, self._last = min(self._paths), max(self._paths)
        self.expected_count: int | None = self._last - self._first + 1
        self._read_errors: list[str] = []
        self._sizes = Sizes()

    def _check_gaps(self, path: Path, frames: Images) -> None:
        """Raise UserError if the frame numbers cannot come from one video."""
        steps = np.diff(frames.numbers)
        gaps, absent = int((steps > 1).sum()), int((steps - 1).sum())
        self._absent = absent, frames.numbers[0], frames.numbers[-1]
        if gaps > MAX_GAPS + MAX_GAPS_PER_FRAME * len(frames.numbers):
            raise UserError(
                f"{path}: numbers between the frames are absent in {gaps} places, first after "
                f"{frames.files[int(np.argmax(steps > 1))].name}. Fix: unpack the frames again. If "
                "there are no more frames, number them consecutively and give their own rate "
                "(--fps)."
            )
        if absent > len(frames.numbers):
            raise UserError(
                f"{path}: {absent} numbers between the frames are absent, most of them before "
                f"{frames.files[int(np.argmax(steps)) + 1].name}, which may not be a frame. Fix: "
                "move other pictures out of the folder, or number the frames consecutively."
            )

    def __iter__(self) -> Iterator[NumberedFrame]:
        for number in range(self._first, self._last + 1):
            frame = self._read(number)
            if frame is not None:
                self._sizes.update(number, frame)
            yield number, frame

    def _read(self, number: int) -> np.ndarray | None:
        path = self._paths.get(number)
        if path is None:
            return None
        try:
            frame = pictures.read(path)
        except UserError as error:
            self._read_errors.append(str(error))
            return None
        return frame if frame.ndim == 3 else cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user, as in `Stream`."""
        absent, first, last = self._absent
        notes = []
        if absent:
            notes.append(
                f"{absent} numbers between {first} and {last} have no frame; movements are not "
                "followed across such a gap."
            )
        if self._read_errors:
            more = len(self._read_errors) - 1
            others = f" ({more} more files cannot be read either.)" if more else ""
            notes.append(f"{self._read_errors[0]}{others}")
        return (*notes, *self._sizes.notes())
