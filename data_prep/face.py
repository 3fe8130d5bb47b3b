"""Face spotting, alignment and cropping (section 3.2, step 1)."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import pathlib
from typing import Any

import numpy as np

from data_prep.clip import Clip
from data_prep.cv import cv2
from data_prep.errors import UserError

# Where a face is put, as fractions of the window's side. Measured from the eye line, brows rise to
# about 0.5 and a chin drops to about 1.75 distances between the eyes.
EYE_LINE = 0.32
EYE_DISTANCE = 0.36
BORDER = 0.03  # kept free above the brows and below the chin; a long face is made smaller for it

RIGHT_EYE = slice(36, 42)  # the subject's right, the picture's left
LEFT_EYE = slice(42, 48)
MOUTH = slice(48, 68)
NOSE_BRIDGE = slice(27, 31)

_MODEL_PACKAGE = "face_recognition_models"
_MODEL_FILE = "shape_predictor_68_face_landmarks.dat"
_REMEDY = "pip install '.[landmarks]'"


def crop(clip: Clip, *, size: int, margin: int, points: str, per_frame: bool, model: str) -> Clip:
    """Cut the aligned face out of every frame, grey and in floating point.

    The eyes are made level and the face is scaled so that brows and chin lie inside the central
    `size` x `size` window; `margin` pixels more are kept on every side for the shifts of the
    augmentation. One transform, that of the onset frame, serves the whole clip: landmarks found
    frame by frame jitter by as much as a micro-expression moves.

    Args:
      clip: frames `[t, h, w]` or `[t, h, w, 3]`.
      size: side of the central window, pixels.
      margin: pixels kept around it.
      points: 'auto' (the clip's own landmarks, else dlib), 'dlib', or 'box' (the centre square of
        the frame becomes the window, for releases that are cropped already).
      per_frame: find the face with dlib in every frame and align each on its own.
      model: path of dlib's 68-point model; '' looks in the package face_recognition_models.

    Returns:
      The clip with frames float32 `[t, S, S]` in 0..255, S = size + 2 * margin, and its landmarks,
      where known, moved along with the onset frame.

    Raises:
      UserError: a frame without a face, landmarks that cannot be used, dlib or its model missing.
    """
    transforms, landmarks = _transforms(clip, size, margin, points, per_frame, model)
    side = size + 2 * margin
    frames = np.stack(
        [_warp(frame, matrix, side) for frame, matrix in zip(clip.frames, transforms)]
    )
    if landmarks is not None:
        landmarks = _move(landmarks, transforms[clip.onset])
    return dataclasses.replace(clip, frames=frames, landmarks=landmarks)


def grey(frame: np.ndarray) -> np.ndarray:
    """Grey float32 `[h, w]` of a grey `[h, w]` or RGB `[h, w, 3]` frame; nothing is rounded."""
    frame = frame.astype(np.float32)
    return frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _transforms(
    clip: Clip, size: int, margin: int, points: str, per_frame: bool, model: str
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """A 2x3 matrix for every frame, and the onset frame's landmarks before it."""
    count = len(clip.frames)
    if points not in ("auto", "dlib", "box"):
        raise UserError(f"face.points = {points!r}: take 'auto', 'dlib' or 'box'.")
    if points == "box":
        if per_frame:
            raise UserError(
                "face.per_frame needs landmarks: with face.points = 'box' set it False."
            )
        height, width = clip.frames.shape[1:3]
        return [_box(height, width, size, margin)] * count, clip.landmarks
    if per_frame:
        found = [detect(frame, model=model, name=clip.name) for frame in clip.frames]
        return [align(face, size, margin, clip.name) for face in found], found[clip.onset]
    landmarks = clip.landmarks if points == "auto" else None
    if landmarks is None:
        landmarks = detect(clip.frames[clip.onset], model=model, name=clip.name)
    return [align(landmarks, size, margin, clip.name)] * count, landmarks


def align(landmarks: np.ndarray, size: int, margin: int, name: str = "face") -> np.ndarray:
    """The similarity `[2, 3]` that levels the eyes and puts the face into the window.

    Args:
      landmarks: `[68, 2]` (x, y) in pixels of the frame.
      size: side of the window, pixels.
      margin: pixels left of and above the window.
      name: what to call the face in an error.

    Raises:
      UserError: the landmarks have another shape, or both eyes at one place.
    """
    landmarks = np.asarray(landmarks, np.float64)
    if landmarks.shape != (68, 2):
        raise UserError(
            f"{name}: landmarks of shape {landmarks.shape}; 68 points (x, y) are needed."
        )
    right, left = landmarks[RIGHT_EYE].mean(0), landmarks[LEFT_EYE].mean(0)
    across = left - right
    distance = float(np.hypot(*across))
    if not distance > 1.0:
        raise UserError(f"{name}: the landmarks put both eyes at one place; check the points.")
    cosine, sine = across / distance
    upright = np.array([[cosine, sine], [-sine, cosine]])
    centre = (right + left) / 2
    heights = ((landmarks - centre) @ upright.T)[:, 1]
    scale = size * min(
        EYE_DISTANCE / distance,
        (EYE_LINE - BORDER) / max(-heights.min(), 1e-6),
        (1 - EYE_LINE - BORDER) / max(heights.max(), 1e-6),
    )
    # A pixel's centre has the whole coordinate, so a window's edges lie at -0.5 and size - 0.5.
    target = margin + size * np.array([0.5, EYE_LINE]) - 0.5
    linear = scale * upright
    return np.column_stack([linear, target - linear @ centre])


def _box(height: int, width: int, size: int, margin: int) -> np.ndarray:
    """The scaling `[2, 3]` that makes the centre square of a frame the window."""
    scale = size / min(height, width)
    middle = margin + size / 2 - 0.5
    shift = [middle - scale * (width - 1) / 2, middle - scale * (height - 1) / 2]
    return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])


def _move(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return (np.asarray(points) @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def _warp(frame: np.ndarray, matrix: np.ndarray, side: int) -> np.ndarray:
    """Resample one frame to grey float32 `[side, side]`; beyond its edge it is mirrored."""
    image = grey(frame)
    scale = float(np.hypot(matrix[0, 0], matrix[0, 1]))
    if scale < 1:
        # Bicubic sampling alone would alias, and aliased texture flickers as a face moves by a
        # fraction of a pixel. This Gaussian leaves the blur that a pixel of the crop has of its
        # own; unlike INTER_AREA it does for any ratio and any rotation.
        image = cv2.GaussianBlur(image, (0, 0), 0.5 * np.sqrt(scale**-2 - 1) + 1e-3)
    warped = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    return np.clip(warped, 0, 255, out=warped)


def detect(frame: np.ndarray, *, model: str = "", name: str = "frame") -> np.ndarray:
    """The 68 landmarks of the largest face, by dlib.

    Args:
      frame: `[h, w]` or `[h, w, 3]`, 0..255.
      model: path of the 68-point model; '' looks in the package face_recognition_models.
      name: what to call the frame in an error.

    Returns:
      float32 `[68, 2]`: (x, y) in pixels.

    Raises:
      UserError: no face, or dlib or its model missing.
    """
    detector, predictor = _dlib(model)
    image = np.clip(np.rint(grey(frame)), 0, 255).astype(np.uint8)
    faces = detector(image, 0) or detector(image, 1)  # enlarged only when needed: 4 times slower
    if not faces:
        height, width = image.shape
        raise UserError(
            f"{name}: dlib finds no face in a frame of {width}x{height} pixels. Give the clip its "
            "landmarks, or, where the frames are cropped to the face already, set "
            "face.points = 'box'."
        )
    shape = predictor(image, max(faces, key=lambda face: face.area()))
    return np.array([(point.x, point.y) for point in shape.parts()], np.float32)


def check_detector(model: str) -> None:
    """Load what finds faces.

    Raises:
      UserError: dlib or its model is missing; with the remedy.
    """
    _dlib(model)


@functools.lru_cache(maxsize=1)
def _dlib(model: str) -> tuple[Any, Any]:
    """Detector and predictor, loaded once: the model file is 100 MB."""
    try:
        dlib: Any = importlib.import_module("dlib")  # an extra without types, slow to import
    except ImportError as error:
        raise UserError(
            f"Finding faces needs dlib ({error}).\nRemedy: {_REMEDY}, or set face.points = 'box' "
            "for frames that are cropped already."
        ) from error
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(_model_path(model)))


def _model_path(model: str) -> pathlib.Path:
    """The 68-point model's file; the package that holds it is found and never imported.

    (Its import fails where setuptools no longer brings pkg_resources.)
    """
    if model:
        path, remedy = pathlib.Path(model).expanduser(), "correct face.model"
    else:
        spec = importlib.util.find_spec(_MODEL_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"dlib's 68-point model is not installed.\nRemedy: {_REMEDY}, or set face.model to "
                f"the path of {_MODEL_FILE}."
            )
        path, remedy = (
            pathlib.Path(spec.submodule_search_locations[0], "models", _MODEL_FILE),
            _REMEDY,
        )
    if not path.is_file():
        raise UserError(f"dlib's 68-point model is not at {path}.\nRemedy: {remedy}.")
    return path
