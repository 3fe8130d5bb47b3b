"""Detection of cuts: consecutive frames of a video that do not show the same scene."""

from __future__ import annotations

import collections

import numpy as np

from data_prep.common.cv import cv2

SIDE = 24  # px, side of the thumbnails that are compared
SPARSE = 160  # px; a larger frame is first subsampled to at least this on its shorter side
MIN_CONTRAST = 2.0  # grey levels; below this, as in a white flash, a frame shows no scene
MIN_CHANGE = 0.25  # A cut must exceed this: 1 minus the correlation of two thumbnails.
FACTOR = 6.0  # A cut must also exceed the median change by this factor.
MEDIAN_SECONDS = 1.0  # s that the median covers


class Cuts:
    """Detector of cuts, which takes the frames of a video in order.

    It compares thumbnails by their correlation. A change of light over the whole frame does not
    affect the correlation.
    """

    def __init__(self, fps: float):
        """Start before the first frame.

        Args:
          fps: Frames per second of the video.
        """
        self._shape: tuple[int, ...] | None = None
        self._last: np.ndarray | None = None
        self._usual_changes = collections.deque([0.0], maxlen=max(3, round(MEDIAN_SECONDS * fps)))

    def update(self, frame: np.ndarray) -> bool:
        """Take the next frame and return whether a new scene begins with it.

        A frame of another size always begins a new scene.
        """
        is_jump = self._is_jump(frame)
        cut = is_jump or self._shape not in (None, frame.shape)
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
        is_jump = change > max(MIN_CHANGE, FACTOR * float(np.median(self._usual_changes)))
        if not is_jump:
            self._usual_changes.append(change)
        return is_jump


def _thumbnail(frame: np.ndarray) -> np.ndarray | None:
    """Return a grey thumbnail of mean 0 and norm 1, or None if it is too flat."""
    step = max(1, min(frame.shape[:2]) // SPARSE)
    sparse = np.ascontiguousarray(frame[::step, ::step])
    small = cv2.resize(sparse, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    grey = small if small.ndim == 2 else small.mean(-1)
    grey = grey - grey.mean()
    length = float(np.linalg.norm(grey))
    return grey / length if length > MIN_CONTRAST * SIDE else None
