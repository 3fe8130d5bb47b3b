"""The frames of a video file, decoded by OpenCV one after the other."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_prep.common.cv import cv2
from data_prep.common.errors import UserError

SLOWEST, FASTEST = 1.0, 20_000.0  # frames a second that a camera may have


class Video:
    """A video's frames, RGB with 8 bits: decoded in order, and never more than one held.

    What the file's header says of their number is not relied on: they are counted when `len` is
    first asked for, in a pass of its own that keeps none of them. (OpenCV 4 itself ends where the
    header says; OpenCV 5 goes on to the video's end.)
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
        steps = np.diff(self._times)
        rate = 1000 / max(steps.mean(), 1e-9)
        return round(rate, 3) if steps.min() > 0 and SLOWEST <= rate <= FASTEST else None

    @property
    def files(self) -> tuple[Path, ...]:
        """From which these frames are read."""
        return (self._path,)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of these frames."""
        return tuple(filter(None, (self._shortage(), self._unevenness())))

    def part(self, start: int, stop: int) -> Video:
        """The frames at the indices `start` to `stop - 1`."""
        part = Video(self._path, self._start + start, self._start + min(stop, len(self)))
        part._times = self._times[start:stop]  # no second pass to count them
        return part

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, index: int) -> np.ndarray:
        """Decode the video up to one frame: in many formats a jump lands beside it.

        Raises:
          UserError: it cannot be decoded.
        """
        with self._opened() as capture:
            _skip(capture, range(len(self))[index])
            return self._decode(capture)

    def __iter__(self) -> Iterator[np.ndarray]:
        with self._opened() as capture:
            for _ in range(len(self)):
                yield self._decode(capture)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[cv2.VideoCapture]:
        """The video at the first of these frames."""
        with opened(self._path) as capture:
            _skip(capture, self._start)
            yield capture

    def _decode(self, capture: cv2.VideoCapture) -> np.ndarray:
        decoded, frame = capture.read()
        if not decoded:
            raise UserError(f"{self._path} has changed while it was read. Run the command again.")
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)

    @functools.cached_property
    def _times(self) -> np.ndarray:
        """When each frame is shown, ms; this is what counts the frames."""
        times: list[float] = []
        with self._opened() as capture:
            while self._start + len(times) != self._stop and capture.grab():
                times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
        if len(times) < 2:
            raise UserError(
                f"{self._path}: {len(times)} frames can be decoded, at least 2 are needed. Is the "
                "file whole? Copy it again, or convert it (ffmpeg -i FILE new.mp4)."
            )
        return np.array(times)

    def _shortage(self) -> str:
        stop = self._start + len(self)
        if stop == self._stop:
            return ""
        with self._opened() as capture:
            announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # Sound that lasts longer than the picture makes many a header announce a few too many.
        if not stop < 0.95 * announced < 1e9:
            return ""
        return (
            f"the file announces {announced:.0f} frames and ends after {stop}: perhaps a part of "
            "it is lost."
        )

    def _unevenness(self) -> str:
        steps = np.diff(self._times)
        if self.fps is None or steps.max() < 1.5 * steps.min() + 1:
            return ""
        return (
            f"the frames are {steps.min():.0f} to {steps.max():.0f} ms apart and are taken to be "
            "evenly spaced: frequencies in Hz and times are approximate."
        )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[cv2.VideoCapture]:
    """A video file before its first frame.

    Raises:
      UserError: OpenCV cannot open it.
    """
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


def _skip(capture: cv2.VideoCapture, frames: int) -> None:
    for _ in range(frames):
        capture.grab()
