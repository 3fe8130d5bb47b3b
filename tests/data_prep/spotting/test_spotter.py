"""Movements that come and go are found in a face's crops, and nothing else is."""

import functools

import cv2
import numpy as np
import pytest

from data_prep.spotting import spotter as spot
from data_prep.spotting.marks import marks
from data_prep.spotting.moves import FaceMotion
from data_prep.stages import face
from data_prep.synthetic.subject import LANDMARKS

SIDE = 112
EYES = (39.5, 72.5), 40.3  # columns and row of an aligned crop's
MOUTH = (56.0, 82.0)


@functools.cache
def texture():
    """Smooth random grey levels: every pixel tells how far it has moved."""
    noise = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return 120 + 50 * smooth / np.abs(smooth).max()


def bump(places, reach):
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    return sum(np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * reach**2)) for left, top in places)


def mouth():
    """The corners of the mouth rise by 1 px: `[h, w, 2]`."""
    field = bump([(MOUTH[0] - 16, MOUTH[1]), (MOUTH[0] + 16, MOUTH[1])], 9.0)
    return np.stack([0 * field, -field], -1)


def lids():
    field = bump([(column, EYES[1]) for column in EYES[0]], 3.0)
    return np.stack([0 * field, field], -1)


def head(right, turn, growth):
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    return np.stack([right - turn * y + growth * x, turn * x + growth * y], -1)


def pulse(time, onset, apex, offset):
    return 0.5 - 0.5 * np.cos(np.pi * np.interp(time, [onset, apex, offset], [0.0, 1.0, 2.0]))


def found(motion, seconds=3.0, fps=60.0, level=None, points=None):
    """What is spotted in crops that move by `motion` of the second."""
    rng, (y, x) = np.random.default_rng(1), np.mgrid[:SIDE, :SIDE].astype(np.float32)
    spotter, peaks = spot.Spotter(fps, SIDE, level or spot.Level(fps), points), []
    for number in range(round(seconds * fps)):
        right, down = np.moveaxis(motion(number / fps), -1, 0).astype(np.float32)
        frame = cv2.remap(texture(), x - right, y - down, cv2.INTER_CUBIC, None, cv2.BORDER_REFLECT)
        noisy = frame + rng.normal(0, 0.5, frame.shape).astype(np.float32)
        peaks += spotter.update(number, noisy)
    return peaks + spotter.end()


def left_of(field):
    """What a movement is without what a head could do of it: px r.m.s. over the face."""
    faces = FaceMotion(SIDE, None)
    movement = field[faces._region][faces._mask].T.ravel()
    left = movement - faces._head_basis @ (faces._head_basis.T @ movement)
    return np.linalg.norm(left) / (len(left) / 2) ** 0.5


TWO = (0.6, 0.75, 0.95), (1.7, 1.95, 2.2)


@pytest.mark.parametrize("fps", [30.0, 60.0, 150.0])
@pytest.mark.parametrize("size", [0.5, 1.5])
def test_what_rises_and_falls_is_found_and_marked(fps, size):
    peaks = found(lambda t: size * sum(pulse(t, *times) for times in TWO) * mouth(), fps=fps)
    assert len(peaks) == 2
    for peak, times in zip(peaks, TWO, strict=True):
        told = np.array([peak.onset, peak.apex, peak.offset]) / fps
        np.testing.assert_allclose(told, times, atol=0.035)
    assert peaks[0].movement == pytest.approx(size * left_of(mouth()), rel=0.25)


STILL = {
    "noise": lambda t: 0 * mouth(),
    "a mouth that opens slowly": lambda t: 0.8 * t * mouth(),
    "a smile that stays": lambda t: 1.5 * np.clip(4 * (t - 1), 0, 1) * mouth(),
    "blinks": lambda t: 4 * (pulse(t, 0.7, 0.8, 0.9) + pulse(t, 2.0, 2.1, 2.3)) * lids(),
    "a head that shifts, turns and comes nearer and back": lambda t: (
        pulse(t, 1.0, 1.2, 1.4) * head(3.0, 0.02, 0.02)
    ),
    "a head that wanders": lambda t: head(2 * np.sin(9 * t), 0.02 * np.sin(7 * t), 0.01 * t),
}


@pytest.mark.parametrize("case", STILL)
def test_nothing_is_found_in_what_does_not(case):
    assert not found(STILL[case])


def test_a_collar_is_no_face():
    matrix = face.align(LANDMARKS, 92, 10)
    points = face.transform_points(LANDMARKS, matrix)
    chin, mouth_corner = points[8], points[48]
    apart = np.array([0, 7])

    def moves(place, reach):
        field = 4 * bump([place], reach)
        return lambda t: pulse(t, *TWO[1]) * np.stack([0 * field, field], -1)

    assert not found(moves(chin + apart, 4.0), points=points)
    assert len(found(moves(mouth_corner, 4.0), points=points)) == 1


def test_one_movement_is_found_while_a_head_wanders():
    wander = STILL["a head that wanders"]
    (peak,) = found(lambda t: wander(t) + pulse(t, *TWO[1]) * mouth())
    assert peak.apex / 60 == pytest.approx(1.95, abs=0.035)


def test_of_a_restless_face_only_what_stands_out_is_told():
    level = spot.Level(60.0)
    assert level.threshold == spot.FLOOR
    for _ in range(1000):
        level.update(0.1)
        level.update(-3.0)  # what goes on steadily is no measure
        level.update(0.1)
        level.update(0.1)
    assert level.threshold == pytest.approx(0.1 * spot.FACTOR)
    # As large as in the tests above, where it is found.
    assert not found(lambda t: 0.5 * pulse(t, *TWO[0]) * mouth(), 2.0, level=level)


def test_what_is_held_does_not_grow():
    spotter = spot.Spotter(60.0, SIDE, spot.Level(60.0))
    for number in range(400):
        spotter.update(number, texture())
        spotter.measurements.clear()
    held = len(spotter._looks)
    assert held == spotter._looks.maxlen
    assert held <= 150


@pytest.mark.parametrize("onset", [20.0, 31.0])
@pytest.mark.parametrize("offset", [55.0, 64.0])
def test_the_marks_of_a_raised_cosine(onset, offset):
    time, pattern = np.arange(81.0), np.random.default_rng(2).standard_normal(50)
    course = pulse(time, onset, 40.0, offset)
    movements = (course - course[40])[:, None] * pattern
    told = marks(movements, 41, 25, 100.0)
    assert told is not None
    np.testing.assert_allclose([told.onset, told.apex, told.offset], [onset, 40, offset], atol=2)


def test_what_does_not_fall_to_half_on_both_sides_has_no_marks():
    time, pattern = np.arange(81.0), np.ones(50)
    course = np.clip((time - 20) / 20, 0, 1) - 0.3 * np.clip((time - 40) / 20, 0, 1)
    assert marks((course - 1)[:, None] * pattern, 40, 25, 100.0) is None
