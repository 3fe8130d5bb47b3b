"""The apex of a clip in which nobody has marked it: SMIC's, or a video of one's own.

The flow from the onset frame to each later frame is rid of what is no expression, and the apex is
where the rest is largest. The head's movement goes in two steps: its shift, turn and growth in the
image, frame by frame, and what is left of it at the offset, which is taken to have come
evenly. An expression is over by its offset, a head need not have come back; without the second step
a slow turn of the head outweighs a small expression. The eyes count for nothing: a blink is larger
than any micro-expression.

docs/data.md ("How well the apex is estimated") has the errors on clips of known movement.

References:
  Farneback, "Two-frame motion estimation based on polynomial expansion", SCIA 2003.
  Liong et al., "Automatic apex frame spotting in micro-expression database", ACPR 2015: the frame
    that differs most from the onset.
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
SIDE = 112  # px of the frames that the flow is measured in; larger ones gain little
WINDOW = 0.1  # of the side, that the flow is a mean over: what an expression moves at once
EYES_APART = 0.29  # of an aligned crop's side; their row is the key frames'
# Half axes (across, down) in distances between the eyes: of the face around a point below the
# middle of the eyes, and of what a blink moves around each eye.
FACE_BELOW, FACE = 0.55, (0.95, 1.3)
EYE = (0.36, 0.3)
STILL = 1e-3  # px: less is the rounding of the flow, not a movement

Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]


def estimate(clip: Clip, *, rule: str, smoothing: float) -> Clip:
    """Find the apex between onset and offset where nobody has marked it.

    Args:
      clip: frames `[t, h, w]`, as the face stage leaves them.
      rule: 'flow' (the largest deviation from the onset) or 'middle' (half-way from onset to
        offset, as many papers do for SMIC).
      smoothing: seconds, the Gaussian's sigma that the deviation is smoothed with over time; 0
        leaves it as it is.

    Returns:
      The clip with an apex after its onset, `apex_estimated` set, and a note where nothing moves.
      A clip with an apex comes back as it is, and so does one whose onset and offset are out of
      order: the key frames' stage says what is wrong with it.

    Raises:
      UserError: an unknown rule.
    """
    if rule not in RULES:
        raise UserError(f"apex.rule = {rule!r}: take 'flow' or 'middle'.")
    if clip.apex is not None or not 0 <= clip.onset < clip.offset < len(clip.frames):
        return clip
    half_way = clip.onset + (clip.offset - clip.onset + 1) // 2
    found = dataclasses.replace(clip, apex=half_way, apex_estimated=True)
    if rule == "middle":
        return found
    course = deviation(clip)
    if course.max() < STILL:
        note = "nothing moves from onset to offset; the frame in the middle stands for the apex."
        return dataclasses.replace(found, notes=(*clip.notes, note))
    return dataclasses.replace(found, apex=clip.onset + peak(course, smoothing * clip.fps))


def peak(course: np.ndarray, width: float) -> int:
    """The highest place of a course, but the first.

    Args:
      course: `[t]`.
      width: the sigma, in places, of the Gaussian that it is smoothed with before.
    """
    smooth = gaussian_filter1d(course, width, mode="nearest") if width else course
    return 1 + int(np.argmax(smooth[1:]))


def farneback(first: np.ndarray, second: np.ndarray, side: int = 0) -> np.ndarray:
    """Farneback's flow: `[h, w, 2]` (right, down) px from one frame `[h, w]` to another.

    Its window is a share of the frames' shorter side, or of `side` where they are parts of larger
    ones.
    """
    window = max(3, round(WINDOW * (side or min(first.shape))))
    return cv2.calcOpticalFlowFarneback(
        first,
        second,
        np.zeros((*first.shape, 2), np.float32),  # only to write to: the types want one
        pyr_scale=0.5,
        levels=3,
        winsize=window,
        iterations=2,
        poly_n=5,
        poly_sigma=1.1,
        flags=0,
    )


def deviation(clip: Clip, flow: Flow = farneback) -> np.ndarray:
    """How far the face has moved since the onset, other than with the head.

    Args:
      clip: frames `[t, h, w]`; two of them are held at a reduced size.
      flow: measures the movement `[h, w, 2]` (right, down) px from one frame `[h, w]` to another.

    Returns:
      `[offset - onset + 1]`: the mean length of the movement over the face, in px of `clip.frames`;
      0 at the onset and at the offset.
    """
    height, width = clip.frames[clip.onset].shape
    scale = min(1.0, SIDE / max(height, width))
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    seen = face_without_eyes(clip.landmarks, scale, shape)
    head = head_movement_basis(seen)
    onset = downscale(clip.frames[clip.onset], shape)

    def moved(index: int) -> np.ndarray:
        frame = downscale(clip.frames[index], shape)
        movement = flow(onset, match_brightness(frame, onset, seen))[seen].T.ravel()
        return movement - head @ (head.T @ movement)

    left, last = moved(clip.offset), clip.offset - clip.onset
    course = np.zeros(last + 1)
    for step in range(1, last):
        right, down = (moved(clip.onset + step) - step / last * left).reshape(2, -1)
        course[step] = np.hypot(right, down).mean() / scale
    return course


def downscale(frame: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A frame `[h, w]` at a smaller shape (rows, columns): means of what each pixel covers."""
    if frame.shape == shape:
        return frame
    return cv2.resize(frame, shape[::-1], interpolation=cv2.INTER_AREA)


def match_brightness(frame: np.ndarray, onset: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The frame in the onset frame's light; a black one stays black."""
    return frame * (onset[mask].mean() / max(1.0, frame[mask].mean()))


def face_without_eyes(
    landmarks: np.ndarray | None,
    scale: float,
    shape: tuple[int, int],
    eye: tuple[float, float] = EYE,
) -> np.ndarray:
    """Where movement counts, bool `[h, w]`: the face without its eyes.

    Args:
      landmarks: `[68, 2]` (x, y) in px of the frame, or None for a crop that is aligned.
      scale: what the frame is reduced by, before it has `shape`.
      shape: rows and columns.
      eye: half axes (across, down) of what is left out around each eye, in distances between them.
    """
    seen = _face_mask(*_eye_centres(landmarks, scale, shape), shape, eye)
    return seen if seen.any() else np.ones(shape, bool)  # a box may leave out the landmarks


def _eye_centres(
    landmarks: np.ndarray | None, scale: float, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The centres (x, y) of both eyes at a scale; without landmarks those of an aligned crop."""
    if landmarks is None:
        middle = np.array([keyframes.MIDDLE_COLUMN, keyframes.EYE_ROW])
        across = np.array([EYES_APART / 2, 0])
        size = np.array(shape[::-1])
        return size * (middle - across), size * (middle + across)
    # A pixel's centre has the whole coordinate.
    points = (np.asarray(landmarks) + 0.5) * scale - 0.5
    return points[face.RIGHT_EYE].mean(0), points[face.LEFT_EYE].mean(0)


def _face_mask(
    right: np.ndarray, left: np.ndarray, shape: tuple[int, int], eye: tuple[float, float]
) -> np.ndarray:
    """An ellipse around the face without one around each eye, bool `[h, w]`."""
    apart = float(np.hypot(*(left - right)))
    centre = (right + left) / 2 + [0, FACE_BELOW * apart]
    y, x = np.mgrid[: shape[0], : shape[1]]

    def within(middle: np.ndarray, axes: tuple[float, float]) -> np.ndarray:
        across, down = (max(1e-6, axis * apart) for axis in axes)
        return ((x - middle[0]) / across) ** 2 + ((y - middle[1]) / down) ** 2 < 1

    return within(centre, FACE) & ~within(right, eye) & ~within(left, eye)


def head_movement_basis(mask: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what a shift, a small turn and a growth move, `[2 n, 4]`.

    Args:
      mask: bool `[h, w]` with n places; rows are their movements to the right, then down.
    """
    y, x = (axis - axis.mean() for axis in np.nonzero(mask))
    shifts, turn, growth = np.eye(2).repeat(len(x), 0), np.r_[-y, x], np.r_[x, y]
    return np.linalg.qr(np.column_stack([shifts, turn, growth]))[0].astype(np.float32)
