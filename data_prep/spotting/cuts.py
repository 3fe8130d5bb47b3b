"""Cuts: where one frame of a video and the next do not show the same scene."""

from __future__ import annotations

import collections

import numpy as np

from data_prep.common.cv import cv2

SIDE = 24  # px of the thumbnails that are compared
SPARSE = 160  # px: of a larger frame only every so many-th pixel counts
MIN_CONTRAST = 2.0  # grey levels: a picture of less contrast, such as a white flash, shows no scene
MIN_CHANGE = 0.25  # one minus the correlation of two thumbnails, above which they may be a cut
FACTOR = 6.0  # and above that many times what is usual
MEDIAN_SECONDS = 1.0  # s that this is the median over


class Cuts:
    """Sees frames one after the other, and says where a new scene begins.

    Thumbnails are compared by their correlation, which does not change with light that rises or
    falls everywhere.
    """

    def __init__(self, fps: float):
        """See a video of `fps` frames a second."""
        self._shape: tuple[int, ...] | None = None
        self._last: np.ndarray | None = None
        self._usual_changes = collections.deque([0.0], maxlen=max(3, round(MEDIAN_SECONDS * fps)))

    def update(self, frame: np.ndarray) -> bool:
        """Take the next frame; whether another scene begins with it."""
        jumps = self._is_jump(frame)
        cut = jumps or self._shape not in (None, frame.shape)
        self._shape = frame.shape
        return cut

    def _is_jump(self, frame: np.ndarray) -> bool:
        thumbnail = _thumbnail(frame)
        if thumbnail is None:
            return False
        last, self._last = self._last, thumbnail
        if last is None:
            return False
        change = 1 - float(np.vdot(last, thumbnail))
        jumps = change > max(MIN_CHANGE, FACTOR * float(np.median(self._usual_changes)))
        if not jumps:
            self._usual_changes.append(change)
        return jumps


def _thumbnail(frame: np.ndarray) -> np.ndarray | None:
    """The frame small, without its brightness and contrast; None where it shows nothing."""
    every = max(1, min(frame.shape[:2]) // SPARSE)
    sparse = np.ascontiguousarray(frame[::every, ::every])
    small = cv2.resize(sparse, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    grey = small if small.ndim == 2 else small.mean(-1)
    grey = grey - grey.mean()
    length = float(np.linalg.norm(grey))
    return grey / length if length > MIN_CONTRAST * SIDE else None
