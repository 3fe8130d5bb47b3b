"""Landmarks from files, and by dlib at two sizes."""

import importlib.util
import sys

import numpy as np
import pytest
from skimage import data

from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.stages import landmarks

POINTS = np.random.default_rng(0).uniform(0, 400, (68, 2)).round(1).astype(np.float32)

needs_dlib = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("dlib", "face_recognition_models")),
    reason="needs pip install '.[landmarks]'",
)


def openface(path, frames, success=1, blank=" "):
    """A file as OpenFace writes it; the points of frame n (from 1) are moved by n."""
    names = [f"{axis}_{point}" for axis in "xy" for point in range(68)]
    lines = [("," + blank).join(["frame", "face_id", "success", *names])]
    for frame in frames:
        moved = (POINTS + frame).T.ravel().tolist()
        lines.append(", ".join(map(str, [frame, 0, success, *moved])))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("separator", [",", " ", ", ", "\t"])
def test_68_lines_are_the_onset_frame_s(tmp_path, separator):
    np.savetxt(tmp_path / "a.txt", POINTS, fmt="%.1f", delimiter=separator)
    for index in (0, 7):
        np.testing.assert_array_equal(landmarks.read(tmp_path / "a.txt", index), POINTS)


@pytest.mark.parametrize("blank", [" ", ""])
def test_openface_s_row_is_that_of_the_frame(tmp_path, blank):
    path = openface(tmp_path / "a.csv", [1, 2, 3, 4], blank=blank)
    np.testing.assert_allclose(landmarks.read(path, 2), POINTS + 3)


def test_files_without_the_landmarks_are_named(tmp_path):
    path = tmp_path / "a.csv"
    with pytest.raises(UserError, match=r"a\.csv: no landmarks can be read"):
        landmarks.read(path, 0)
    contents = (
        "",
        "x,y\n1,2\n",
        "1,2\n" * 67,
        "1,2,3\n" * 68,
        "1,nan\n" * 68,
        "\0\1",
        "x_0,y_0\n1,2",
    )
    for content in contents:
        path.write_text(content)
        with pytest.raises(UserError, match=r"a\.csv: holds no 68 landmarks of frame 0"):
            landmarks.read(path, 0)
    for frames, success in (([1, 2], 1), ([4, 4], 1), ([4], 0)):  # absent, two faces, no face
        with pytest.raises(UserError, match=r"a\.csv: holds no 68 landmarks of frame 3"):
            landmarks.read(openface(path, frames, success), 3)


@needs_dlib
@pytest.mark.parametrize("side", [256, 512, 1600])
def test_a_face_is_found_small_and_large(side):
    photograph = data.astronaut()
    expected, _ = landmarks.detect(photograph)
    how = cv2.INTER_AREA if side < 512 else cv2.INTER_CUBIC
    points, faces = landmarks.detect(cv2.resize(photograph, (side, side), interpolation=how))
    assert faces == 1
    assert np.linalg.norm(points * 512 / side - expected, axis=1).mean() < 4


@pytest.fixture
def fresh_dlib():
    landmarks.load_detector.cache_clear()
    yield
    landmarks.load_detector.cache_clear()


def test_missing_dlib_is_answered_with_the_remedy(monkeypatch, fresh_dlib):
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(UserError, match=r"pip install '\.\[landmarks\]'"):
        landmarks.detect(np.zeros((64, 64), np.uint8))


def test_missing_model_is_answered_with_the_remedy(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"face\.model"):
        landmarks._model_path(str(tmp_path / "none.dat"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install '\.\[landmarks\]'"):
        landmarks._model_path("")


def test_damaged_model_is_answered_with_the_remedy(tmp_path, fresh_dlib):
    pytest.importorskip("dlib")
    model = tmp_path / "damaged.dat"
    model.write_bytes(b"no model")
    with pytest.raises(UserError, match=r"damaged\.dat: not a 68-point model"):
        landmarks.load_detector(str(model))
