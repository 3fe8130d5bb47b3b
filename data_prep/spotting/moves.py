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
JAW_INSET = 0.1  # share of the way to the middle of the face, by which the jaw is drawn in
# In distances between the eyes, how far below them that middle is, and, without landmarks, how far
# a face is sure to reach.
MIDDLE, CHIN = 0.5, 1.45
FLOW_MARGIN = 12  # px around the face: a flow of the part alone differs by less than 0.003 px in it


@dataclasses.dataclass(frozen=True, eq=False)
class Move:
    """A movement over the n places that count.

    Attributes:
      face: `[2 n]` px without the head's movement: to the right, then down.
      head: the head's, px r.m.s.
    """

    face: np.ndarray
    head: float


class FaceMotion:
    """The crops of one face by one transform.

    Attributes:
      scale: of the crops as they are compared.
    """

    def __init__(self, side: int, landmarks: np.ndarray | None):
        """Compare crops of `side` px; landmarks `[68, 2]` are (x, y) in px of these, or None."""
        self.scale = min(1.0, apex.SIDE / side)
        self._shape = round(side * self.scale), round(side * self.scale)
        seen = apex.face_without_eyes(landmarks, self.scale, self._shape, EYE)
        seen &= _inside_jaw(landmarks, self.scale, seen)
        self._region = _bounding_slices(seen)
        self._mask = seen[self._region]
        self._head_basis = head_and_turn_basis(self._mask)

    def downscale(self, crop: np.ndarray) -> np.ndarray:
        """A crop as it is compared: smaller, and of it the part with the face."""
        return np.ascontiguousarray(apex.downscale(crop, self._shape)[self._region])

    def movement(self, first: np.ndarray, second: np.ndarray) -> Move:
        """The movement from one reduced crop to another."""
        lit = apex.match_brightness(second, first, self._mask)
        flow = apex.farneback(first, lit, min(self._shape))
        movement = flow[self._mask].T.ravel()
        share = self._head_basis.T @ movement
        head = float(np.linalg.norm(share)) / (len(movement) / 2) ** 0.5
        return Move(movement - self._head_basis @ share, head)


def _inside_jaw(landmarks: np.ndarray | None, scale: float, mask: np.ndarray) -> np.ndarray:
    """What lies within the jaw, bool `[h, w]`: below it a collar's edge moves as no face does.

    The jaw is drawn in by about as much as the flow's window reaches over it.
    """
    if landmarks is None:
        rows = np.arange(len(mask))[:, None] / len(mask)
        return rows < keyframes.EYE_ROW + CHIN * apex.EYES_APART
    points = (np.asarray(landmarks, np.float64) + 0.5) * scale - 0.5
    right, left = points[face.RIGHT_EYE].mean(0), points[face.LEFT_EYE].mean(0)
    middle, across = (right + left) / 2, left - right
    up = np.array([across[1], -across[0]])
    jaw = points[JAW] + JAW_INSET * (middle + MIDDLE * -up - points[JAW])
    brow = middle + np.outer([-0.95, 0, 0.95], across) + up
    outline = np.rint(np.concatenate([jaw, brow[::-1]])).astype(np.int32)
    inside = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(inside, cv2.convexHull(outline), 1)
    return inside.astype(bool)


def _bounding_slices(mask: np.ndarray) -> tuple[slice, slice]:
    """The rows and columns of what counts, and some more."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - FLOW_MARGIN), int(rows[-1]) + FLOW_MARGIN + 1),
        slice(max(0, int(columns[0]) - FLOW_MARGIN), int(columns[-1]) + FLOW_MARGIN + 1),
    )


def head_and_turn_basis(mask: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what a head moves in its image, `[2 n, 6]`.

    Shift, turn and growth are `apex.head_movements`. A turn out of the plane moves what stands out
    of it: the face as a dome, highest in its middle.

    Args:
      mask: bool `[h, w]` with n places.
    """
    y, x = (axis - axis.mean() for axis in np.nonzero(mask))
    dome = np.exp(-((x / x.std()) ** 2 + (y / y.std()) ** 2) / 2)
    turns = np.kron(np.eye(2), dome[:, None])
    return np.linalg.qr(np.column_stack([apex.head_movement_basis(mask), turns]))[0].astype(
        np.float32
    )
