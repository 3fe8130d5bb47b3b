"""The 68 landmarks of a face, in the order of 300-W: detected by dlib, or read from a file."""

from __future__ import annotations

import csv
import functools
import importlib
import importlib.util
import pathlib
from typing import Any

import numpy as np

from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.video.pictures import grey

COUNT = 68
SIDE = 640  # px; frames are reduced to this longer side for detection.

_MODEL_PACKAGE = "face_recognition_models"
_MODEL_FILE = "shape_predictor_68_face_landmarks.dat"
_REMEDY = "pip install '.[landmarks]'"


def detect(frame: np.ndarray, *, model: str = "", name: str = "frame") -> tuple[np.ndarray, int]:
    """Detect the landmarks of the largest face, by dlib.

    Faces are searched at a reduced size and, if there is none, at twice that size. At the reduced
    size, dlib's detector finds faces of 80 px and more. The landmarks are located in the frame
    itself.

    Args:
      frame: `[h, w]` or `[h, w, 3]`, 0..255.
      model: Path of the 68-point model; '' looks in the package face_recognition_models.
      name: Name of the frame, for the message.

    Returns:
      float32 `[68, 2]`, (x, y) in pixels, and the number of faces found.

    Raises:
      UserError: There is no face, or dlib or its model is missing.
    """
    detector, predictor = load_detector(model)
    image = _to_uint8(frame)
    faces = _faces(detector, image)
    if not faces:
        height, width = image.shape
        raise UserError(
            f"{name}: dlib finds no face in a frame of {width}x{height} pixels.\nFix, one of: "
            "give landmarks (--landmarks for a video, --config.data.landmarks_dir for a database); "
            "give another onset; for frames that are cropped to the face already, set "
            "--config.prep.face.points=box."
        )
    largest = max(faces, key=lambda face: face.area())
    return _points(predictor, image, largest), len(faces)


def find_all(frame: np.ndarray, *, model: str = "") -> list[np.ndarray]:
    """Detect the landmarks `[68, 2]` of every face, largest first.

    Args and errors are those of `detect`; without a face the list is empty.
    """
    detector, predictor = load_detector(model)
    image = _to_uint8(frame)
    faces = sorted(_faces(detector, image), key=lambda face: face.area(), reverse=True)
    return [_points(predictor, image, face) for face in faces]


def has_face(frame: np.ndarray, *, model: str = "") -> bool:
    """Return whether dlib finds a face in the frame.

    Args and errors are those of `detect`.
    """
    return bool(_faces(load_detector(model)[0], _to_uint8(frame)))


def _points(predictor: Any, image: np.ndarray, face: Any) -> np.ndarray:
    parts = predictor(image, face).parts()
    return np.array([(point.x, point.y) for point in parts], np.float32)


def _to_uint8(frame: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(grey(frame)), 0, 255).astype(np.uint8)


def _faces(detector: Any, image: np.ndarray) -> list[Any]:
    """Return the faces' rectangles in pixels of the image."""
    reduction = min(1.0, SIDE / max(image.shape))
    for scale in (reduction, 2 * reduction):
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        faces = detector(cv2.resize(image, None, fx=scale, fy=scale, interpolation=method), 0)
        if faces:
            return [_scaled(face, 1 / scale) for face in faces]
    return []


def _scaled(face: Any, scale: float) -> Any:
    edges = (face.left(), face.top(), face.right(), face.bottom())
    return type(face)(*(round(scale * edge) for edge in edges))


@functools.lru_cache(maxsize=1)
def load_detector(model: str) -> tuple[Any, Any]:
    """Load dlib's detector and predictor, once: the model file has 100 MB.

    Raises:
      UserError: dlib or its model is missing, or the model is damaged.
    """
    try:
        dlib: Any = importlib.import_module("dlib")  # Optional, untyped, slow to import.
    except ImportError as error:
        raise UserError(
            f"Face detection needs dlib ({error}).\nFix: {_REMEDY}, or give the landmarks, or "
            "set face.points = 'box' for frames that are cropped already."
        ) from error
    path = _model_path(model)
    try:
        return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise UserError(
            f"{path}: not a 68-point model that dlib can read ({error}).\nFix: {_REMEDY}, or "
            "set face.model to an undamaged file."
        ) from error


def _model_path(model: str) -> pathlib.Path:
    """Return the file of the 68-point model.

    The package that holds it is located without an import, because its import fails if setuptools
    no longer provides pkg_resources.
    """
    if model:
        path, remedy = pathlib.Path(model).expanduser(), "correct face.model"
    else:
        spec = importlib.util.find_spec(_MODEL_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise UserError(
                f"dlib's 68-point model is not installed.\nFix: {_REMEDY}, or set face.model to "
                f"the path of {_MODEL_FILE}."
            )
        folder = spec.submodule_search_locations[0]
        path, remedy = pathlib.Path(folder, "models", _MODEL_FILE), _REMEDY
    if not path.is_file():
        raise UserError(f"{path}: dlib's 68-point model is not here.\nFix: {remedy}.")
    return path


def resolve_folder(path: str | pathlib.Path | None) -> pathlib.Path | None:
    """Return the folder of a database's landmarks, or None if no path is given.

    Raises:
      UserError: The folder does not exist.
    """
    if not path:
        return None
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder. Fix: correct config.data.landmarks_dir.")
    return folder


def read(path: pathlib.Path, index: int) -> np.ndarray:
    """Read landmarks from a file.

    Two formats are supported:

    - text, 68 lines `x,y` or `x y`: the landmarks of the onset frame;
    - OpenFace's CSV, one row per frame, with the columns frame (counted from 1), x_0 ... x_67 and
      y_0 ... y_67.

    Args:
      path: Landmark file.
      index: Index of the onset frame in the video or folder, counted from 0. It selects OpenFace's
        row.

    Returns:
      float32 `[68, 2]`, (x, y) in pixels.

    Raises:
      UserError: The file cannot be read, has neither format, or has no row for the frame.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").strip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "not text"
        raise UserError(
            f"{path}: no landmarks can be read ({reason}). Fix: correct the path."
        ) from error
    try:
        texts = _openface(lines, index) if "x_0" in lines[0] else _pairs(lines)
        points = np.array(texts, np.float32)
    except (ValueError, KeyError, IndexError, TypeError):
        points = np.empty(0, np.float32)
    if points.shape != (COUNT, 2) or not np.isfinite(points).all():
        raise UserError(
            f"{path}: holds no 68 landmarks of frame {index}, counted from 0. Fix: give 68 lines "
            "'x,y' of the onset frame, or OpenFace's CSV of the whole video (2D landmarks, one "
            "face)."
        )
    return points


def _pairs(lines: list[str]) -> list[list[str]]:
    return [line.replace(",", " ").split() for line in lines]


def _openface(lines: list[str], index: int) -> list[tuple[str, str]]:
    """Return the points of the frame.

    The list is empty if OpenFace saw no face in the frame, or several.
    """
    rows = list(csv.DictReader(lines, skipinitialspace=True))
    rows = [row for row in rows if int(row.get("frame") or index + 1) == index + 1]
    if len(rows) != 1 or int(rows[0].get("success") or 1) != 1:
        return []
    return [(rows[0][f"x_{point}"], rows[0][f"y_{point}"]) for point in range(COUNT)]
