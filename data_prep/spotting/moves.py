"""Movement of a face from one crop to another, without the movement of the head.

It is the optical flow that remains after the head's movement is removed: its shift, turn and growth
in the image plane, and its turns out of the plane, which move the middle of a face most. The eyes
are ignored: a blink is larger than any micro-expression.

References:
  Farneback, "Two-frame motion estimation based on polynomial expansion", SCIA 2003.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from data_prep.common.cv import cv2
from data_prep.stages import apex, face, keyframes

# Half axes (across, down) of the ellipse that is ignored around each eye, in distances between the
# eyes. Larger than in `apex`, since a lid affects the flow as far as the flow's window reaches.
EYE = (0.5, 0.45)
JAW = slice(0, 17)
JAW_INSET = 0.1  # Share of the way to the middle of the face by which the jaw is moved inwards.
# In distances between the eyes. MIDDLE: middle of the face below the eyes. CHIN: how far below the
# eyes any face reaches; it is used without landmarks.
MIDDLE, CHIN = 0.5, 1.45
FLOW_MARGIN = 12  # px around the face; the flow in the face then changes by less than 0.003 px.


@dataclasses.dataclass(frozen=True, eq=False)
class Move:
    """A movement of the n pixels of a face.

    Attributes:
      face: Movement without that of the head, `[2 n]` px: all components to the right, then all
        components down.
      head: Movement of the head, px, root mean square over the face.
    """

    face: np.ndarray
    head: float


class FaceMotion:
    """Movements of one face between crops that were cut with the same transform.

    Attributes:
      scale: Scale of the compared images relative to the crops, at most 1.
    """

    def __init__(self, side: int, landmarks: np.ndarray | None):
        """Prepare the mask of the face and the basis of the head's movements.

        Args:
          side: Side of the crops, px.
          landmarks: Landmarks `[68, 2]`, (x, y) in px of the crops, or None.
        """
        self.scale = min(1.0, apex.SIDE / side)
        self._shape = round(side * self.scale), round(side * self.scale)
        mask = apex.face_without_eyes(landmarks, self.scale, self._shape, EYE)
        mask &= _inside_jaw(landmarks, self.scale, mask)
        self._region = _bounding_slices(mask)
        self._mask = mask[self._region]
        self._head_basis = head_and_turn_basis(self._mask)

    def downscale(self, crop: np.ndarray) -> np.ndarray:
        """Return the part of a crop with the face, downscaled for comparison."""
        return np.ascontiguousarray(apex.downscale(crop, self._shape)[self._region])

    def movement(self, first: np.ndarray, second: np.ndarray) -> Move:
        """Return the movement from one downscaled crop to another."""
        matched = apex.match_brightness(second, first, self._mask)
        flow = apex.farneback(first, matched, min(self._shape))
        movement = flow[self._mask].T.ravel()
        coefficients = self._head_basis.T @ movement
        head = float(np.linalg.norm(coefficients)) / (len(movement) / 2) ** 0.5
        return Move(movement - self._head_basis @ coefficients, head)


def _inside_jaw(landmarks: np.ndarray | None, scale: float, mask: np.ndarray) -> np.ndarray:
    """Return a mask of the pixels within the jaw, bool `[h, w]`.

    Below the jaw, the edge of a collar moves unlike a face. The jaw is moved inwards by about as
    much as the flow's window reaches across it.
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
    """Return the rows and columns of the mask's bounding box, with a margin."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - FLOW_MARGIN), int(rows[-1]) + FLOW_MARGIN + 1),
        slice(max(0, int(columns[0]) - FLOW_MARGIN), int(columns[-1]) + FLOW_MARGIN + 1),
    )


def head_and_turn_basis(mask: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of a head's movements in the image, `[2 n, 6]`.

    Shift, turn and growth are those of `apex.head_movement_basis`. A turn out of the plane moves a
    point by as much as the point stands out of the plane. For this, the face is taken as a dome
    that is highest in its middle.

    Args:
      mask: Mask of the face, bool `[h, w]`, true for n pixels.
    """
    y, x = (axis - axis.mean() for axis in np.nonzero(mask))
    dome = np.exp(-((x / x.std()) ** 2 + (y / y.std()) ** 2) / 2)
    turns = np.kron(np.eye(2), dome[:, None])
    return np.linalg.qr(np.column_stack([apex.head_movement_basis(mask), turns]))[0].astype(
        np.float32
    )
