"""One pass over a video of any length: frame after frame, and never more than one held.

`frames.Video` counts a video's frames before it gives the first. Here the end is where decoding
ends, and what was wrong on the way is said afterwards.
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

PROBED_FRAMES = 50  # frames whose times give the rate where the header does not
FEW, MANY = 3, 0.1  # gaps in a folder's numbers, and so many a frame: more are no gaps but a step

NumberedFrame = tuple[int, np.ndarray | None]


class Stream(Protocol):
    """A video's frames in order, once.

    Gone through, it yields a frame's number and the frame, RGB `[h, w, 3]` in 0..255 (None where it
    cannot be read). The numbers rise by one.

    Attributes:
      fps: frames a second.
      expected_count: how many frames there should be, for a progress bar; None when nobody knows.
    """

    fps: float
    expected_count: int | None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, a sentence each; complete after the last frame."""
        ...

    def __iter__(self) -> Iterator[NumberedFrame]: ...


def open_stream(path: Path, fps: float | None = None, start: int = 0) -> Stream:
    """A video file, or a folder of frames.

    Args:
      path: a folder of pictures, ordered by the last integer of their names, or a video file.
      fps: frames a second; None is what the file says.
      start: the number of the first frame to give. A video's first frame has the number 0, one of a
        folder that in its file's name. Those before are not decoded.

    Raises:
      UserError: there is no such video, it has fewer than two frames or no frame `start`, or its
        frame rate is not known.
    """
    frames = open_frames(path)
    if isinstance(frames, Images):
        return _Folder(path, frames, fps, start)
    return _File(path, fps, start)


class _File:
    """A video file."""

    def __init__(self, path: Path, fps: float | None, start: int):
        self._decoder, self._start = open_video(path), start
        announced, header = self._decoder.header_frame_count, self._decoder.fps
        # Two in any case, to see that it is a video.
        times = self._decoder.times(PROBED_FRAMES if header is None else 2)
        self.fps = resolve_fps(path, fps, Times(times).fps if header is None else header)
        self._is_fps_given = fps is not None
        self.expected_count: int | None = None if announced is None else max(0, announced - start)
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
                f"{len(self._decoder.times())}. Correct the first frame."
            )
        self._end = number + 1

    @property
    def notes(self) -> tuple[str, ...]:
        """As `Stream` has it."""
        lost = self._decoder.truncation_notes(self._end) if self._end else []
        # A fast camera's video is often stored to be shown slowly: the user knows better.
        other = [] if self._is_fps_given else self._times.rate_notes(self.fps)
        return (*lost, *self._times.unevenness_notes(), *other, *self._sizes.notes())


class _Folder:
    """A folder of pictures."""

    def __init__(self, path: Path, frames: Images, fps: float | None, start: int):
        self.fps = resolve_fps(path, fps, frames.fps)
        self._check_gaps(path, frames)
        self._paths = {
            number: file for number, file in zip(frames.numbers, frames.files) if number >= start
        }
        if not self._paths:
            raise UserError(
                f"{path}: there is no frame {start}; there are {frames.numbers[0]} to "
                f"{frames.numbers[-1]}. Correct the first frame."
            )
        self._first, self._last = min(self._paths), max(self._paths)
        self.expected_count: int | None = self._last - self._first + 1
        self._read_errors: list[str] = []
        self._sizes = Sizes()

    def _check_gaps(self, path: Path, frames: Images) -> None:
        """Refuse numbers that are not those of one video; of all frames, wherever one starts."""
        steps = np.diff(frames.numbers)
        gaps, absent = int((steps > 1).sum()), int((steps - 1).sum())
        self._absent = absent, frames.numbers[0], frames.numbers[-1]
        if gaps > FEW + MANY * len(frames.numbers):
            raise UserError(
                f"{path}: in {gaps} places numbers between the frames are absent, first after "
                f"{frames.files[int(np.argmax(steps > 1))].name}. Unpack the frames again; if "
                "there are no more of them, number them one after the other and give their own "
                "rate (--fps)."
            )
        if absent > len(frames.numbers):
            raise UserError(
                f"{path}: {absent} numbers between the frames are absent, most of them before "
                f"{frames.files[int(np.argmax(steps)) + 1].name}. Is that a frame? Fix: move "
                "other pictures out of the folder, or number the frames one after the other."
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
        """As `Stream` has it."""
        absent, first, last = self._absent
        notes = []
        if absent:
            notes.append(
                f"{absent} numbers between {first} and {last} have no frame; no movement is "
                "followed across such a gap."
            )
        if self._read_errors:
            more = len(self._read_errors) - 1
            others = f" ({more} more files cannot be read either.)" if more else ""
            notes.append(f"{self._read_errors[0]}{others}")
        return (*notes, *self._sizes.notes())
