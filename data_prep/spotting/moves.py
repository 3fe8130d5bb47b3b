"""How a face has moved from one crop to another, other than with the head.

That is what the optical flow has left when the head's movement is taken out of it: its shift, turn
and growth in the image, and turns out of it, which move the middle of a face most. The eyes count
for nothing: a blink is larger than any micro-expression.

References:
  Farneback, "Two-frame motion estimation based on polynomial expansion", SCIA 2003.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_prep.common.cv import cv2
from data_prep.stages import apex, face, keyframes

# Half axes (across, down) of what is left out around each eye, in distances between them: more than
# `apex` does, as a lid's movement reaches as far as the flow's window.
EYE = (0.5, 0.45)
JAW = slice(0, 17)
DRAWN_IN = 0.1  # share of the way to the middle of the face, by which the jaw is drawn in
# In distances between the eyes, how far below them that middle is, and, without landmarks, how far
# a face is sure to reach.
MIDDLE, CHIN = 0.5, 1.45
AROUND = 12  # px around the face: a flow of the part alone differs by less than 0.003 px in it


@dataclasses.dataclass(frozen=True, eq=False)
class Move:
    """A movement over the n places that count.

    Attributes:
      face: `[2 n]` px without the head's movement: to the right, then down.
      head: the head's, px r.m.s.
    """

    face: np.ndarray
    head: float


class Faces:
    """The crops of one face by one transform.

    Attributes:
      scale: of the crops as they are compared.
    """

    def __init__(self, side: int, landmarks: np.ndarray | None):
        """Compare crops of `side` px; landmarks `[68, 2]` are (x, y) in px of these, or None."""
        self.scale = min(1.0, apex.SIDE / side)
        self._shape = round(side * self.scale), round(side * self.scale)
        seen = apex.face_without_eyes(landmarks, self.scale, self._shape, EYE)
        seen &= _above_chin(landmarks, self.scale, seen)
        self._part = _around(seen)
        self._seen = seen[self._part]
        self._head = head_and_turns(self._seen)

    def reduced(self, crop: np.ndarray) -> np.ndarray:
        """A crop as it is compared: smaller, and of it the part with the face."""
        return np.ascontiguousarray(apex.reduced(crop, self._shape)[self._part])

    def moved(self, first: np.ndarray, second: np.ndarray) -> Move:
        """The movement from one reduced crop to another."""
        lit = apex.as_bright(second, first, self._seen)
        flow = apex.farneback(first, lit, min(self._shape))
        movement = flow[self._seen].T.ravel()
        share = self._head.T @ movement
        head = float(np.linalg.norm(share)) / (len(movement) / 2) ** 0.5
        return Move(movement - self._head @ share, head)


def _above_chin(landmarks: np.ndarray | None, scale: float, seen: np.ndarray) -> np.ndarray:
    """What lies within the jaw, bool `[h, w]`: below it a collar's edge moves as no face does.

    The jaw is drawn in by about as much as the flow's window reaches over it.
    """
    if landmarks is None:
        rows = np.arange(len(seen))[:, None] / len(seen)
        return rows < keyframes.EYE_ROW + CHIN * apex.EYES_APART
    points = (np.asarray(landmarks, np.float64) + 0.5) * scale - 0.5
    right, left = points[face.RIGHT_EYE].mean(0), points[face.LEFT_EYE].mean(0)
    middle, across = (right + left) / 2, left - right
    up = np.array([across[1], -across[0]])
    jaw = points[JAW] + DRAWN_IN * (middle + MIDDLE * -up - points[JAW])
    brow = middle + np.outer([-0.95, 0, 0.95], across) + up
    outline = np.rint(np.concatenate([jaw, brow[::-1]])).astype(np.int32)
    inside = np.zeros(seen.shape, np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(outline), 1)
    return inside.astype(bool)


def _around(seen: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of what counts, and some more."""
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - AROUND), int(rows[-1]) + AROUND + 1),
        slice(max(0, int(columns[0]) - AROUND), int(columns[-1]) + AROUND + 1),
    )


def head_and_turns(seen: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what a head moves in its image, `[2 n, 6]`.

    Shift, turn and growth are `apex.head_movements`. A turn out of the plane moves what stands out
    of it: the face as a dome, highest in its middle.

    Args:
      seen: bool `[h, w]` with n places.
    """
    y, x = (axis - axis.mean() for axis in np.nonzero(seen))
    dome = np.exp(-((x / x.std()) ** 2 + (y / y.std()) ** 2) / 2)
    turns = np.kron(np.eye(2), dome[:, None])
    return np.linalg.qr(np.column_stack([apex.head_movements(seen), turns]))[0].astype(np.float32)
