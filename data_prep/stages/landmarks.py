"""The 68 landmarks of a face, in the order of 300-W: found by dlib, or read from a file."""

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
SIDE = 640  # px: a frame's longer side is made at most this before faces are looked for

_MODEL_PACKAGE = "face_recognition_models"
_MODEL_FILE = "shape_predictor_68_face_landmarks.dat"
_REMEDY = "pip install '.[landmarks]'"


def detect(frame: np.ndarray, *, model: str = "", name: str = "frame") -> tuple[np.ndarray, int]:
    """The landmarks of the largest face, by dlib.

    Faces are looked for at a reduced size and, when there is none, at twice that: at the first,
    dlib's detector sees faces of 80 px and more. The landmarks are those of the frame itself.

    Args:
      frame: `[h, w]` or `[h, w, 3]`, 0..255.
      model: path of the 68-point model; '' looks in the package face_recognition_models.
      name: what to call the frame in an error.

    Returns:
      float32 `[68, 2]`, (x, y) in pixels, and the number of faces that were found.

    Raises:
      UserError: no face, or dlib or its model missing.
    """
    detector, predictor = load_detector(model)
    image = _to_uint8(frame)
    faces = _faces(detector, image)
    if not faces:
        height, width = image.shape
        raise UserError(
            f"{name}: dlib finds no face in a frame of {width}x{height} pixels.\nFix, one of: "
            "landmarks from a file (--landmarks of a video, config.data.landmarks_dir of a "
            "database); another onset; for frames that are cropped to the face already, "
            "--config.prep.face.points=box."
        )
    largest = max(faces, key=lambda face: face.area())
    return _points(predictor, image, largest), len(faces)


def find_all(frame: np.ndarray, *, model: str = "") -> list[np.ndarray]:
    """The landmarks `[68, 2]` of every face, the largest first; the rest is as for `detect`."""
    detector, predictor = load_detector(model)
    image = _to_uint8(frame)
    faces = sorted(_faces(detector, image), key=lambda face: face.area(), reverse=True)
    return [_points(predictor, image, face) for face in faces]


def has_face(frame: np.ndarray, *, model: str = "") -> bool:
    """Whether dlib finds a face in the frame; the rest is as for `detect`."""
    return bool(_faces(load_detector(model)[0], _to_uint8(frame)))


def _points(predictor: Any, image: np.ndarray, face: Any) -> np.ndarray:
    parts = predictor(image, face).parts()
    return np.array([(point.x, point.y) for point in parts], np.float32)


def _to_uint8(frame: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(grey(frame)), 0, 255).astype(np.uint8)


def _faces(detector: Any, image: np.ndarray) -> list[Any]:
    """The faces' rectangles in pixels of the image."""
    reduction = min(1.0, SIDE / max(image.shape))
    for scale in (reduction, 2 * reduction):
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        faces = detector(cv2.resize(image, None, fx=scale, fy=scale, interpolation=how), 0)
        if faces:
            return [_scaled(face, 1 / scale) for face in faces]
    return []


def _scaled(face: Any, scale: float) -> Any:
    edges = (face.left(), face.top(), face.right(), face.bottom())
    return type(face)(*(round(scale * edge) for edge in edges))


@functools.lru_cache(maxsize=1)
def load_detector(model: str) -> tuple[Any, Any]:
    """The detector and the predictor of dlib, loaded once: the model file is 100 MB.

    Raises:
      UserError: dlib or its model is missing, or the model is damaged; with the remedy.
    """
    try:
        dlib: Any = importlib.import_module("dlib")  # an extra without types, slow to import
    except ImportError as error:
        raise UserError(
            f"Finding faces needs dlib ({error}).\nFix: {_REMEDY}, or give the landmarks, or "
            "set face.points = 'box' for frames that are cropped already."
        ) from error
    path = _model_path(model)
    try:
        return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise UserError(
            f"{path}: not a 68-point model that dlib can read ({error}).\nFix: {_REMEDY}, or "
            "set face.model to a whole file."
        ) from error


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
                f"dlib's 68-point model is not installed.\nFix: {_REMEDY}, or set face.model to "
                f"the path of {_MODEL_FILE}."
            )
        folder = spec.submodule_search_locations[0]
        path, remedy = pathlib.Path(folder, "models", _MODEL_FILE), _REMEDY
    if not path.is_file():
        raise UserError(f"dlib's 68-point model is not at {path}.\nFix: {remedy}.")
    return path


def resolve_folder(path: str | pathlib.Path | None) -> pathlib.Path | None:
    """The folder in which a database's landmarks are, or None when there are none.

    Raises:
      UserError: there is no such folder.
    """
    if not path:
        return None
    found = pathlib.Path(path).expanduser()
    if not found.is_dir():
        raise UserError(f"{found}: no such folder. Correct config.data.landmarks_dir.")
    return found


def read(path: pathlib.Path, index: int) -> np.ndarray:
    """Read landmarks from a file.

    Two forms are known: 68 lines `x,y` (or `x y`), which are the onset frame's, and OpenFace's CSV,
    a row for each frame with the columns x_0 ... x_67, y_0 ... y_67 and, counted from 1, frame.

    Args:
      path: of the file.
      index: of the onset frame in the video or folder, counted from 0: which of OpenFace's rows.

    Returns:
      float32 `[68, 2]`, (x, y) in pixels.

    Raises:
      UserError: naming the file, when it is of neither form or lacks the frame.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").strip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", "") or "not text"
        raise UserError(
            f"{path}: no landmarks can be read ({reason}). Correct the path."
        ) from error
    try:
        texts = _openface(lines, index) if "x_0" in lines[0] else _pairs(lines)
        points = np.array(texts, np.float32)
    except (ValueError, KeyError, IndexError, TypeError):
        points = np.empty(0, np.float32)
    if points.shape != (COUNT, 2) or not np.isfinite(points).all():
        raise UserError(
            f"{path}: holds no 68 landmarks of frame {index}, counted from 0. Give 68 lines 'x,y' "
            "of the onset frame, or OpenFace's CSV of the whole video (2D landmarks, one face)."
        )
    return points


def _pairs(lines: list[str]) -> list[list[str]]:
    return [line.replace(",", " ").split() for line in lines]


def _openface(lines: list[str], index: int) -> list[tuple[str, str]]:
    """The frame's points; none when OpenFace saw no face there, or several."""
    rows = list(csv.DictReader(lines, skipinitialspace=True))
    rows = [row for row in rows if int(row.get("frame") or index + 1) == index + 1]
    if len(rows) != 1 or int(rows[0].get("success") or 1) != 1:
        return []
    return [(rows[0][f"x_{point}"], rows[0][f"y_{point}"]) for point in range(COUNT)]
