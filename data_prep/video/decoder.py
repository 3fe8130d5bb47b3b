"""The door to video files: only here one is opened and decoded, at present by OpenCV.

`open_video` reads a file's header. A `Decoder` then goes through the file as often as it is asked
to, one frame after the other, and never holds more than one. `Times` and `Sizes` note what was odd
about the frames of a pass, `loss` what is missing at its end.
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

MIN_FPS, MAX_FPS = 1.0, 20_000.0  # frames a second that a camera may have
MAX_STEP_RATIO = (
    1.5  # the longest step over the shortest; up to 1 ms more is the rounding of a clock
)
RATE_TOLERANCE = 0.02  # share by which the mean rate may differ from the one that is taken
MIN_FRAMES_FOR_RATE = 10  # frames: fewer say nothing of the rate
LOSS_TOLERANCE = (
    0.05  # share; sound that lasts longer makes many a header announce a few frames too many
)


class Frame(NamedTuple):
    """A decoded frame.

    Attributes:
      number: counted from the file's first frame, which is 0.
      ms: when it is shown, by the file's own clock.
      pixels: RGB uint8 `[h, w, 3]`.
    """

    number: int
    ms: float
    pixels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A video file that can be decoded.

    Attributes:
      path: of the file.
      header_frame_count: how many frames its header announces; None where that is no number of frames. Do
        not rely on it. (OpenCV 4 ends there; OpenCV 5 goes on to the video's end.)
      fps: frames a second by its header; None where that is no camera's rate.
    """

    path: Path
    header_frame_count: int | None
    fps: float | None

    def frames(self, start: int = 0) -> Iterator[Frame]:
        """Yield the frames from the number `start` on, to where decoding ends.

        Those before are gone through, since in many formats a jump lands beside its aim.
        """
        with _open_capture(self.path) as capture:
            if not all(capture.grab() for _ in range(start)):
                return
            number = start
            while (read := capture.read())[0]:
                pixels = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
                yield Frame(number, capture.get(cv2.CAP_PROP_POS_MSEC), pixels)
                number += 1

    def times(self, max_count: int | None = None) -> np.ndarray:
        """Return when the first `max_count` frames are shown, ms; by default all, which counts them.

        Raises:
          UserError: fewer than two frames can be decoded.
        """
        times: list[float] = []
        with _open_capture(self.path) as capture:
            while len(times) != max_count and capture.grab():
                times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        if len(times) < 2:
            raise UserError(
                f"{self.path}: {len(times)} frames can be decoded, at least 2 are needed. Is the "
                "file whole? Copy it again, or convert it (ffmpeg -i FILE new.mp4)."
            )
        return np.array(times)

    def truncation_notes(self, count: int) -> list[str]:
        """Return a sentence if the file ends after `count` frames, well before it should."""
        if (
            self.header_frame_count is None
            or count >= (1 - LOSS_TOLERANCE) * self.header_frame_count
        ):
            return []
        return [
            f"the file announces {self.header_frame_count} frames and ends after {count}: perhaps a part of "
            "it is lost."
        ]


def open_video(path: Path) -> Decoder:
    """Read a video file's header.

    Raises:
      UserError: OpenCV cannot open the file.
    """
    with _open_capture(path) as capture:
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        fps = capture.get(cv2.CAP_PROP_FPS)
    announced = int(count) if 1 <= count < 1e9 else None
    return Decoder(path, announced, fps if MIN_FPS <= fps <= MAX_FPS else None)


@contextlib.contextmanager
def _open_capture(path: Path) -> Iterator[cv2.VideoCapture]:
    """The file before its first frame."""
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise UserError(
                f"{path}: not a video that OpenCV can read. Is the file whole? Convert it (ffmpeg "
                "-i FILE new.mp4), or give a folder of frames."
            )
        yield capture
    finally:
        capture.release()


class Times:
    """The times of consecutive frames; a few numbers are kept of them."""

    def __init__(self, times: Iterable[float] = ()):
        """Take the first times, ms; `see` takes more."""
        self._count, self._first, self._last = 0, 0.0, 0.0
        self._shortest, self._longest = np.inf, -np.inf
        for ms in times:
            self.update(ms)

    def update(self, ms: float) -> None:
        """Take the time of the next frame, ms."""
        if self._count:
            step = ms - self._last
            self._shortest, self._longest = min(self._shortest, step), max(self._longest, step)
        else:
            self._first = ms
        self._last = ms
        self._count += 1

    @property
    def fps(self) -> float | None:
        """Frames a second on average; None when the times make no sense, or no camera's rate."""
        rate = self._average_fps
        return round(rate, 3) if rate and MIN_FPS <= rate <= MAX_FPS else None

    def unevenness_notes(self) -> list[str]:
        """Return a sentence if the frames are not evenly spaced."""
        if not self._average_fps or self._longest <= MAX_STEP_RATIO * self._shortest + 1:
            return []
        return [
            f"the frames are {self._shortest:.0f} to {self._longest:.0f} ms apart and are taken to "
            "be evenly spaced: frequencies in Hz and times are approximate."
        ]

    def rate_notes(self, fps: float) -> list[str]:
        """Return a sentence if the average rate is not the one that was taken."""
        rate = self._average_fps
        if not rate or self._count <= MIN_FRAMES_FOR_RATE or abs(rate / fps - 1) <= RATE_TOLERANCE:
            return []
        return [
            f"by their own times there are {rate:.4g} frames a second on average, and {fps:.4g} "
            f"were taken: times are approximate. --fps={rate:.4g} takes the former."
        ]

    @property
    def _average_fps(self) -> float | None:
        """Frames a second; None if not every time is later than the one before."""
        if self._count < 2 or self._shortest <= 0:
            return None
        return 1000 * (self._count - 1) / (self._last - self._first)


class Sizes:
    """Frames that have another size than the one before."""

    def __init__(self):
        self._size, self._changes, self._first_change = None, 0, ""

    def update(self, number: int, frame: np.ndarray) -> None:
        """Take the next frame's size."""
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
        """Return a sentence on the changes, if there were any."""
        if not self._changes:
            return []
        more = f" (and {self._changes - 1} more such changes)" if self._changes > 1 else ""
        return [f"{self._first_change}{more}: that is taken for a cut."]
