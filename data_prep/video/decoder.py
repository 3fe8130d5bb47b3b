"""The only module that opens and decodes video files, at present with OpenCV.

`open_video` reads the header of a file. A `Decoder` then passes through the file as often as
needed, frame by frame, and holds at most one frame. `Times` and `Sizes` record irregularities among
the frames of a pass. `Decoder.truncation_notes` reports frames that are missing at its end.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.common.cv import cv2
from data_prep.common.errors import UserError

MIN_FPS, MAX_FPS = 1.0, 20_000.0  # Frame rates that a camera may have.
MAX_STEP_RATIO = 1.5  # Longest step over the shortest. Up to 1 ms more is rounding of the clock.
RATE_TOLERANCE = 0.02  # Relative difference allowed between the mean rate and the rate in use.
MIN_FRAMES_FOR_RATE = 10  # Up to this many frames, the mean rate is not reliable.
# Share of the frames that may be missing. Many headers announce a few frames too many, because the
# sound lasts longer than the picture.
LOSS_TOLERANCE = 0.05


class Frame(NamedTuple):
    """A decoded frame.

    Attributes:
      number: Number of the frame; the first frame of the file is 0.
      ms: Display time by the file's own clock, ms.
      pixels: Pixels, RGB uint8 `[h, w, 3]`.
    """

    number: int
    ms: float
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A video file that can be decoded.

    Attributes:
      path: Path of the file.
      header_frame_count: Number of frames that the header announces; None if that is not a
        plausible number. It is not reliable. (OpenCV 4 stops decoding there; OpenCV 5 goes on to
        the end of the video.)
      fps: Frames per second by the header; None if no camera has that rate.
    """

    path: Path
    header_frame_count: int | None
    fps: float | None

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yield the frames from the number `start` on, until decoding ends.

        The frames before are result and skipped, since seeking is not exact in many formats.
        """
        with _open_capture(self.path) as capture:
            if not all(capture.grab() for _ in range(start)):
                return
            number = start
            while (result := capture.read())[0]:
                pixels = cv2.cvtColor(result[1], cv2.COLOR_BGR2RGB)
                yield Frame(number, capture.get(cv2.CAP_PROP_POS_MSEC), pixels)
                number += 1

    def times(self, max_count: int | None = None) -> np.ndarray:
        """Return the display times of the first frames, ms.

        Args:
          max_count: Number of frames, or None for all frames, which counts them.

        Raises:
          UserError: Fewer than two frames can be decoded.
        """
        times: list[float] = []
        with _open_capture(self.path) as capture:
            while len(times) != max_count and capture.grab():
                times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        if len(times) < 2:
            raise UserError(
                f"{self.path}: {len(times)} frames can be decoded, at least 2 are needed. Fix: "
                "copy the file again if it is not complete, or convert it (ffmpeg -i FILE new.mp4)."
            )
        return np.array(times)

    def truncation_notes(self, count: int) -> list[str]:
        """Return a note if the file ends after `count` frames, well before it should."""
        if (
            self.header_frame_count is None
            or count >= (1 - LOSS_TOLERANCE) * self.header_frame_count
        ):
            return []
        return [
            f"the file announces {self.header_frame_count} frames and ends after {count}; a part "
            "of it may be lost."
        ]


def open_video(path: Path) -> Decoder:
    """Read the header of a video file.

    Raises:
      UserError: OpenCV cannot open the file.
    """
    with _open_capture(path) as capture:
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        fps = capture.get(cv2.CAP_PROP_FPS)
    header_frame_count = int(count) if 1 <= count < 1e9 else None
    return Decoder(path, header_frame_count, fps if MIN_FPS <= fps <= MAX_FPS else None)


@contextlib.contextmanager
def _open_capture(path: Path) -> Iterator[cv2.VideoCapture]:
    """Open a video file for a block, before its first frame."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise UserError(
                f"{path}: not a video that OpenCV can read. Fix: copy it again if it is not "
                "complete, convert it (ffmpeg -i FILE new.mp4), or give a folder of frames."
            )
        yield capture
    finally:
        capture.release()


class Times:
    """Display times of consecutive frames, summarised in a few numbers."""

    def __init__(self, times: Iterable[float] = ()):
        """Start with some times.

        Args:
          times: Times of the first frames, ms; `update` adds more.
        """
        self._count, self._first, self._last = 0, 0.0, 0.0
        self._shortest, self._longest = np.inf, -np.inf
        for ms in times:
            self.update(ms)

    def update(self, ms: float) -> None:
        """Add the time of the next frame, ms."""
        if self._count:
            step = ms - self._last
            self._shortest, self._longest = min(self._shortest, step), max(self._longest, step)
        else:
            self._first = ms
        self._last = ms
        self._count += 1

    @property
    def fps(self) -> float | None:
        """Mean frames per second; None if the times or the rate are implausible."""
        rate = self._average_fps
        return round(rate, 3) if rate and MIN_FPS <= rate <= MAX_FPS else None

    def unevenness_notes(self) -> list[str]:
        """Return a note if the frames are not evenly spaced."""
        if not self._average_fps or self._longest <= MAX_STEP_RATIO * self._shortest + 1:
            return []
        return [
            f"the frames are {self._shortest:.0f} to {self._longest:.0f} ms apart. They are "
            "treated as evenly spaced, so times and frequencies in Hz are approximate."
        ]

    def rate_notes(self, fps: float) -> list[str]:
        """Return a note if the mean rate differs from the rate in use, `fps`."""
        rate = self._average_fps
        if not rate or self._count <= MIN_FRAMES_FOR_RATE or abs(rate / fps - 1) <= RATE_TOLERANCE:
            return []
        return [
            f"by their own times there are {rate:.4g} frames a second on average, but {fps:.4g} "
            f"are used, so times are approximate. To use the former, give --fps={rate:.4g}."
        ]

    @property
    def _average_fps(self) -> float | None:
        """Mean frames per second; None if the times do not increase from frame to frame."""
        if self._count < 2 or self._shortest <= 0:
            return None
        return 1000 * (self._count - 1) / (self._last - self._first)


class Sizes:
    """Record of the frames whose size differs from the previous frame's size."""

    def __init__(self):
        self._size, self._changes, self._first_change = None, 0, ""

    def update(self, number: int, frame: np.ndarray) -> None:
        """Add the size of the next frame."""
        height, width = frame.shape[:2]
        if self._size not in (None, (width, height)):
            if not self._changes:
                self._first_change = (
                    f"frame {number} has {width}x{height} pixels and the one before "
                    f"{'x'.join(map(str, self._size or ()))}"
                )
            self._changes += 1
        self._size = width, height

    def notes(self) -> list[str]:
        """Return a note on the changes, if there were any."""
        if not self._changes:
            return []
        more = f" (and {self._changes - 1} more such changes)" if self._changes > 1 else ""
        return [f"{self._first_change}{more}; this is treated as a cut."]
