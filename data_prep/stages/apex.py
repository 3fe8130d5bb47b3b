"""Estimates the apex of a clip without a marked one, such as a clip of SMIC or the user's own.

The apex is the frame where the flow from the onset frame, less the movement of the head, is
largest. The head's movement is removed in two steps. First, frame by frame, its shift, turn and
growth in the image. Second, what is left of it at the offset, which is assumed to have built up
evenly since the onset. An expression is over by its offset, but a head need not have come back;
without the second step, a slow turn of the head outweighs a small expression. The eyes are ignored:
a blink is larger than any micro-expression.

docs/data.md ("How well the apex is estimated") has the errors on clips of known movement.

References:
  Farneback, "Two-frame motion estimation based on polynomial expansion", SCIA 2003.
  Liong et al., "Automatic apex frame spotting in micro-expression database", ACPR 2015: the apex
    as the frame that differs most from the onset.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.ndimage import gaussian_filter1d

from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.stages import face, keyframes

RULES = ("flow", "middle")
SIDE = 112  # px of the frames that the flow is measured in; larger frames gain little.
WINDOW = 0.1  # Share of the side that the flow is averaged over: the extent of an expression.
EYES_APART = 0.29  # Share of an aligned crop's side. The eyes' row is `keyframes.EYE_ROW`.
# Ellipses, in distances between the eyes. FACE_BELOW: centre of the face below the middle of the
# eyes. FACE: half axes (across, down) of the face. EYE: those of the area that a blink moves.
FACE_BELOW, FACE = 0.55, (0.95, 1.3)
EYE = (0.36, 0.3)
STILL = 1e-3  # px; a smaller flow is rounding, not movement.

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]


def estimate(clip: Clip, *, rule: str, smoothing: float) -> Clip:
    """Estimate the apex between onset and offset if it is not marked.

    Args:
      clip: Clip with frames `[t, h, w]`, as the face stage leaves them.
      rule: 'flow' (largest deviation from the onset) or 'middle' (half-way from onset to offset, as
        many papers do for SMIC).
      smoothing: Sigma of the Gaussian that smooths the deviation over time, seconds; 0 does not
        smooth.

    Returns:
      The clip with an apex after its onset and `apex_estimated` set. If nothing moves, the apex is
      the middle frame and a note says so. A clip with a marked apex is returned unchanged, and so
      is one whose onset and offset are out of order: the key frame stage reports that error.

    Raises:
      UserError: The rule is unknown.
    """
    if rule not in RULES:
        raise UserError(f"apex.rule: unknown value {rule!r}. Fix: use 'flow' or 'middle'.")
    if clip.apex is not None or not 0 <= clip.onset < clip.offset < len(clip.frames):
        return clip
    half_way = clip.onset + (clip.offset - clip.onset + 1) // 2
    estimated = dataclasses.replace(clip, apex=half_way, apex_estimated=True)
    if rule == "middle":
        return estimated
    deviations = deviation(clip)
    if deviations.max() < STILL:
        note = "nothing moves from onset to offset; the middle frame is used as the apex."
        return dataclasses.replace(estimated, notes=(*clip.notes, note))
    return dataclasses.replace(estimated, apex=clip.onset + peak(deviations, smoothing * clip.fps))


def peak(course: np.ndarray, width: float) -> int:
    """Return the index of the maximum of a smoothed curve, index 0 excluded.

    Args:
      course: Curve over time `[t]`.
      width: Sigma of the Gaussian that smooths the curve, in indices; 0 does not smooth.
    """
    smoothed = gaussian_filter1d(course, width, mode="nearest") if width else course
    return 1 + int(np.argmax(smoothed[1:]))


def farneback(first: np.ndarray, second: np.ndarray, side: int = 0) -> np.ndarray:
    """Compute Farneback's flow between two frames.

    Args:
      first: Frame `[h, w]`.
      second: Frame `[h, w]`.
      side: Length in px of which the averaging window is the share `WINDOW`. 0 means the frames'
        shorter side. Give it if the frames are parts of larger ones.

    Returns:
      `[h, w, 2]`: (right, down) in px.
    """
    window = max(3, round(WINDOW * (side or min(first.shape))))
    return cv2.calcOpticalFlowFarneback(
        first,
        second,
        np.zeros((*first.shape, 2), np.float32),  # Output buffer; the type stubs require one.
        pyr_scale=0.5,
        levels=3,
        winsize=window,
        iterations=2,
        poly_n=5,
        poly_sigma=1.1,
        flags=0,
    )


def deviation(clip: Clip, flow: Flow = farneback) -> np.ndarray:
    """Measure how far the face has moved since the onset, without the head.

    Args:
      clip: Clip with frames `[t, h, w]`; two of them are in memory, at a reduced size.
      flow: Computes the movement `[h, w, 2]` (right, down) px from one frame `[h, w]` to another.

    Returns:
      `[offset - onset + 1]`: mean length of the movement over the face, in px of `clip.frames`; 0
      at the onset and at the offset.
    """
    height, width = clip.frames[clip.onset].shape
    scale = min(1.0, SIDE / max(height, width))
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    mask = face_without_eyes(clip.landmarks, scale, shape)
    head = head_movement_basis(mask)
    onset = downscale(clip.frames[clip.onset], shape)

    def movement_to(index: int) -> np.ndarray:
        frame = downscale(clip.frames[index], shape)
        movement = flow(onset, match_brightness(frame, onset, mask))[mask].T.ravel()
        return movement - head @ (head.T @ movement)

    residual, last = movement_to(clip.offset), clip.offset - clip.onset
    deviations = np.zeros(last + 1)
    for step in range(1, last):
        right, down = (movement_to(clip.onset + step) - step / last * residual).reshape(2, -1)
        deviations[step] = np.hypot(right, down).mean() / scale
    return deviations


def downscale(frame: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a frame `[h, w]` to a smaller shape by averaging.

    Args:
      frame: The frame.
      shape: Rows and columns of the result.
    """
    if frame.shape == shape:
        return frame
    return cv2.resize(frame, shape[::-1], interpolation=cv2.INTER_AREA)


def match_brightness(frame: np.ndarray, onset: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Scale a frame to the mean brightness of the onset frame within a mask.

    A black frame stays black.
    """
    return frame * (onset[mask].mean() / max(1.0, frame[mask].mean()))


def face_without_eyes(
    landmarks: np.ndarray | None,
    scale: float,
    shape: tuple[int, int],
    eye: tuple[float, float] = EYE,
) -> np.ndarray:
    """Return the mask of the pixels where movement counts: the face, no eyes.

    Args:
      landmarks: `[68, 2]` (x, y) in px of the full-size frame, or None for an aligned crop.
      scale: Factor by which the frame was reduced to `shape`.
      shape: Rows and columns.
      eye: Half axes (across, down) of the area left out around each eye, in distances between the
        eyes.

    Returns:
      bool `[h, w]`.
    """
    mask = _face_mask(*_eye_centres(landmarks, scale, shape), shape, eye)
    return mask if mask.any() else np.ones(shape, bool)  # The landmarks may lie outside a box.


def _eye_centres(
    landmarks: np.ndarray | None, scale: float, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the centres (x, y) of the right and the left eye at a scale.

    Without landmarks they are those of an aligned crop.
    """
    if landmarks is None:
        middle = np.array([keyframes.MIDDLE_COLUMN, keyframes.EYE_ROW])
        across = np.array([EYES_APART / 2, 0])
        size = np.array(shape[::-1])
        return size * (middle - across), size * (middle + across)
    # Whole coordinates are pixel centres.
    points = (np.asarray(landmarks) + 0.5) * scale - 0.5
    return points[face.RIGHT_EYE].mean(0), points[face.LEFT_EYE].mean(0)


def _face_mask(
    right: np.ndarray, left: np.ndarray, shape: tuple[int, int], eye: tuple[float, float]
) -> np.ndarray:
    """Return the ellipse of the face less the ellipses of the eyes, bool `[h, w]`."""
    apart = float(np.hypot(*(left - right)))
    centre = (right + left) / 2 + [0, FACE_BELOW * apart]
    y, x = np.mgrid[: shape[0], : shape[1]]

    def within(middle: np.ndarray, axes: tuple[float, float]) -> np.ndarray:
        across, down = (max(1e-6, axis * apart) for axis in axes)
        return ((x - middle[0]) / across) ** 2 + ((y - middle[1]) / down) ** 2 < 1

    return within(centre, FACE) & ~within(right, eye) & ~within(left, eye)


def head_movement_basis(mask: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of shifts, small turns and growth, `[2 n, 4]`.

    Args:
      mask: Mask, bool `[h, w]` with n pixels set. The rows of the basis are their movements to the
        right, then down.
    """
    y, x = (axis - axis.mean() for axis in np.nonzero(mask))
    shifts, turn, growth = np.eye(2).repeat(len(x), 0), np.r_[-y, x], np.r_[x, y]
    return np.linalg.qr(np.column_stack([shifts, turn, growth]))[0].astype(np.float32)
