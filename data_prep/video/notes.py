"""What is noticed of a video while its frames are gone through: their times, and their sizes."""

from __future__ import annotations

import numpy as np

UNEVEN = 1.5  # the longest step over the shortest; up to 1 ms more is the rounding of a clock
OFF = 0.02  # share by which the mean rate may differ from the one that is taken
FEW = 10  # frames: fewer say nothing of the rate


class Times:
    """The times of frames, taken one after the other; a few numbers are kept of them."""

    def __init__(self, fps: float, given: bool):
        """Expect `fps` frames a second; if the user gave them, the file's times count for nothing.

        (A fast camera's video is often stored to be shown slowly.)
        """
        self._fps, self._given = fps, given
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)
        self._shortest, self._longest, self._sensible = np.inf, 0.0, True

    def see(self, number: int, shown: float) -> None:
        """Take the next frame's number, and when the file says it is shown, ms.

        Times that do not rise say nothing.
        """
        if self._first is None:
            self._first = number, shown
        elif shown > self._last[1]:
            step = shown - self._last[1]
            self._shortest, self._longest = min(self._shortest, step), max(self._longest, step)
        else:
            self._sensible = False
        self._last = number, shown

    def notes(self) -> list[str]:
        """Sentences on a rate that changes, or is another than expected."""
        if self._first is None or not self._sensible:
            return []
        notes = []
        if self._longest > UNEVEN * self._shortest + 1:
            notes.append(
                f"the frames are {self._shortest:.0f} to {self._longest:.0f} ms apart and are "
                "taken to be evenly spaced: frequencies in Hz and times are approximate."
            )
        frames, ms = self._last[0] - self._first[0], self._last[1] - self._first[1]
        rate = 1000 * frames / ms if frames >= FEW and ms > 0 else self._fps
        if not self._given and abs(rate / self._fps - 1) > OFF:
            notes.append(
                f"by their own times there are {rate:.4g} frames a second on average, and "
                f"{self._fps:.4g} were taken: times are approximate. --fps={rate:.4g} takes the "
                "former."
            )
        return notes


class Sizes:
    """Frames that have another size than the one before."""

    def __init__(self):
        self._size, self._changes, self._first = None, 0, ""

    def see(self, number: int, frame: np.ndarray) -> None:
        """Take the next frame's size."""
        height, width = frame.shape[:2]
        if self._size not in (None, (width, height)):
            if not self._changes:
                self._first = (
                    f"frame {number} has {width}x{height} pixels and the one before "
                    f"{'x'.join(map(str, self._size or ()))}"
                )
            self._changes += 1
        self._size = width, height

    def notes(self) -> list[str]:
        """A sentence on the changes, if there were any."""
        if not self._changes:
            return []
        more = f" (and {self._changes - 1} more such changes)" if self._changes > 1 else ""
        return [f"{self._first}{more}: that is taken for a cut."]
