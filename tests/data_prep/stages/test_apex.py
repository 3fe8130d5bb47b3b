"""Where the apex is put when nobody has marked it, and what must not move it."""

import dataclasses
import functools

import cv2
import numpy as np
import pytest

from data_prep import config
from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.stages import apex, face
from data_prep.synthetic import clips as synthetic

SIDE = 112
FIELDS = {"rule": "flow", "smoothing": 0.01}
EYES = (39.5, 72.5), 40.3  # columns and row of an aligned crop's
MOUTH = (56.0, 82.0)


@functools.cache
def texture():
    """Smooth random grey levels: every pixel tells how far it has moved."""
    noise = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return 120 + 50 * smooth / np.abs(smooth).max()


def bump(places, reach):
    """A field `[h, w]` that is 1 at the places (x, y) and falls off with their distance."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    hills = [np.exp(-((x - left) ** 2 + (y - top) ** 2) / (2 * reach**2)) for left, top in places]
    return np.sum(hills, 0)


def expression(course):
    """The corners of the mouth rise: `[t, h, w, 2]` px for a course `[t]` in px."""
    field = bump([(MOUTH[0] - 16, MOUTH[1]), (MOUTH[0] + 16, MOUTH[1])], 9.0)
    return np.asarray(course)[:, None, None, None] * np.stack([0 * field, -field], -1)


def blink(course):
    """The upper lids drop."""
    columns, row = EYES
    field = bump([(column, row) for column in columns], 3.0)
    return np.asarray(course)[:, None, None, None] * np.stack([0 * field, field], -1)


def head(shift, turn, growth):
    """The whole picture shifts (px), turns (radians) and grows, each `[t]`."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    shift, turn, growth = (np.asarray(part)[:, None, None] for part in (shift, turn, growth))
    return np.stack([shift - turn * y + growth * x, turn * x + growth * y], -1)


def clip_of(motion, light=None, fps=100.0, **fields):
    """A clip that moves by `motion`, with a little noise, in a light of `[t]`; its apex hidden."""
    rng, (y, x) = np.random.default_rng(1), np.mgrid[:SIDE, :SIDE].astype(np.float32)
    light = np.ones(len(motion)) if light is None else light
    frames = [
        gain * cv2.remap(texture(), x - right, y - down, cv2.INTER_CUBIC, None, cv2.BORDER_REFLECT)
        + rng.normal(0, 0.5, (SIDE, SIDE))
        for gain, (right, down) in zip(light, np.moveaxis(motion, -1, 1).astype(np.float32))
    ]
    marks = (0, None, len(frames) - 1)
    made = Clip(np.array(frames, np.float32), fps, *marks, "s", "c", "positive", "joy", "test")
    return dataclasses.replace(made, **fields)


def there_and_back(count, peak, length=1.0):
    """A course `[count]` px from 0 up to `length` at `peak` and back to 0."""
    phase = np.interp(np.arange(count), [0, peak, count - 1], [0, 1, 2])
    return length * (0.5 - 0.5 * np.cos(np.pi * phase))


def found(clip, **fields):
    made = apex.estimate(clip, **{**FIELDS, **fields})
    assert made.apex is not None
    assert made.apex_estimated
    return made.apex


@pytest.mark.parametrize("peak", [8, 12, 18, 22])
def test_the_apex_is_where_the_movement_is_largest(peak):
    assert abs(found(clip_of(expression(there_and_back(31, peak)))) - peak) <= 1


def test_marks_count_from_the_first_frame():
    still = np.zeros(7)
    course = np.r_[still, there_and_back(21, 8), still]
    assert abs(found(clip_of(expression(course), onset=7, offset=27)) - 15) <= 1


def test_an_expression_of_a_third_of_a_pixel_is_seen():
    assert abs(found(clip_of(expression(there_and_back(31, 9, 0.3)))) - 9) <= 2


NUISANCES = {
    "a blink": {"extra": lambda t: blink(4 * np.exp(-(((t - 22) / 3) ** 2)))},
    "a head that shifts and comes back": {
        "extra": lambda t: head(3 * np.sin(np.pi * t / 30) ** 8, 0 * t, 0 * t)
    },
    "a head that turns and comes nearer": {"extra": lambda t: head(t / 20, t / 1500, t / 1500)},
    "another light": {"light": lambda t: 1 + 0.4 * np.exp(-(((t - 22) / 3) ** 2))},
    "a nose that drifts away": {
        "extra": lambda t: (t / 30)[:, None, None, None] * bump([(56, 60)], 12)[..., None]
    },
}


@pytest.mark.parametrize("case", NUISANCES)
@pytest.mark.parametrize("marked", [True, False])
def test_what_is_no_expression_does_not_decide(case, marked):
    time = np.arange(31.0)
    motion = expression(there_and_back(31, 10))
    nuisance = NUISANCES[case]
    moved = motion + nuisance["extra"](time) if "extra" in nuisance else motion
    light = nuisance["light"](time) if "light" in nuisance else None
    clip = clip_of(moved, light, landmarks=landmarks() if marked else None)
    assert abs(found(clip) - 10) <= 1
    frames = np.asarray(clip.frames)
    naive = np.abs(frames - frames[0]).mean(axis=(1, 2))
    assert case == "a blink" or abs(int(naive.argmax()) - 10) > 3  # it would have decided


def landmarks():
    points = np.full((68, 2), 50.0, np.float32)
    columns, row = EYES
    points[face.RIGHT_EYE], points[face.LEFT_EYE] = (columns[0], row), (columns[1], row)
    return points


def test_the_landmarks_say_where_a_blink_is():
    course = 4 * np.exp(-(((np.arange(31) - 22) / 3) ** 2))
    clip = clip_of(expression(there_and_back(31, 10, 0.5)) + blink(course))
    above = landmarks() - [0, 22]
    assert abs(found(dataclasses.replace(clip, landmarks=landmarks())) - 10) <= 1
    assert abs(found(dataclasses.replace(clip, landmarks=above)) - 22) <= 2


def test_landmarks_beyond_the_crop_are_left_alone():
    clip = clip_of(expression(there_and_back(31, 10)), landmarks=landmarks() + 500)
    assert abs(found(clip) - 10) <= 1


def test_smoothing_is_counted_in_seconds():
    # One wild frame late in a smooth course: it goes when the width is that of a frame or so.
    course = there_and_back(61, 20)
    course[50] = 1.1
    slow, fast = (clip_of(expression(course), fps=fps) for fps in (100.0, 400.0))
    assert found(slow, smoothing=0.0) == found(fast, smoothing=0.0) == 50
    assert found(slow, smoothing=0.002) == 50
    assert abs(found(fast, smoothing=0.002) - 20) <= 2


def test_the_deviation_is_in_pixels_of_the_crop():
    small = clip_of(expression(there_and_back(15, 7)))
    frames = [
        cv2.resize(frame, (224, 224), interpolation=cv2.INTER_CUBIC) for frame in small.frames
    ]
    large = dataclasses.replace(small, frames=np.array(frames))
    course, twice = apex.deviation(small), apex.deviation(large)
    assert course.shape == (15,)
    assert course[0] == course[-1] == 0
    np.testing.assert_allclose(twice, 2 * course, rtol=0.1, atol=0.02)


def test_a_marked_apex_is_left_alone():
    clip = clip_of(expression(there_and_back(21, 8)), apex=15)
    assert apex.estimate(clip, **FIELDS) is clip
    assert not clip.apex_estimated


@pytest.mark.parametrize(("count", "expected"), [(2, 1), (3, 1), (4, 2), (9, 4), (10, 5)])
@pytest.mark.parametrize("rule", apex.RULES)
def test_a_still_clip_gets_the_middle_frame(count, expected, rule):
    frames = np.broadcast_to(texture(), (count, SIDE, SIDE))
    clip = dataclasses.replace(clip_of(expression(np.zeros(count))), frames=frames)
    made = apex.estimate(clip, rule=rule, smoothing=0.01)
    assert (made.apex, made.apex_estimated) == (expected, True)
    assert len(made.notes) == (rule == "flow")


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_shortest_clips_have_an_apex_after_their_onset(count):
    clip = clip_of(expression(np.linspace(0, 1, count)))
    assert 1 <= found(clip) <= count - 1


@pytest.mark.parametrize("level", [0.0, 255.0])
@pytest.mark.parametrize("side", [10, 40, 164])
def test_frames_without_any_picture_do_no_harm(level, side):
    rng = np.random.default_rng(0)
    frames = rng.uniform(0, 255, (6, side, side)).astype(np.float32)
    frames[2:4] = level
    clip = dataclasses.replace(clip_of(expression(np.zeros(6))), frames=frames)
    assert np.isfinite(apex.deviation(clip)).all()
    assert 1 <= found(clip) <= 5


@pytest.mark.parametrize("marks", [(3, 3), (4, 2), (-1, 4), (0, 9)])
def test_marks_out_of_order_are_left_to_the_key_frames(marks):
    onset, offset = marks
    clip = clip_of(expression(np.zeros(6)), onset=onset, offset=offset)
    assert apex.estimate(clip, **FIELDS) is clip


def test_an_unknown_rule_is_named():
    with pytest.raises(UserError, match=r"apex\.rule"):
        apex.estimate(clip_of(expression(np.zeros(3))), rule="last", smoothing=0.0)


class Watched:
    """Frames that are made when they are asked for, and a list of which were."""

    def __init__(self, count):
        self.count, self.asked = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        return np.roll(texture(), index % 3, axis=0)


def test_a_long_video_is_read_frame_by_frame():
    frames = Watched(60)
    clip = dataclasses.replace(clip_of(expression(np.zeros(3))), frames=frames, offset=59)
    apex.deviation(clip)
    assert sorted(set(frames.asked)) == list(range(60))
    assert len(frames.asked) <= 62


def test_synthetic_clips_are_estimated_better_than_by_the_middle_frame():
    spec, recipe = config.synthetic(), config.recipe()
    spec.update(seed=31, size=224, subjects=3, clips_per_subject=2, amplitude=(2.0, 3.0))
    source = synthetic.SyntheticSource(spec)
    errors = {rule: [] for rule in apex.RULES}
    for entry in source.entries():
        clip = face.crop(source.load(entry), size=112, margin=0, **recipe.face)
        hidden, peak = early(clip)
        for rule, some in errors.items():
            some.append(abs(found(hidden, **{**recipe.apex, "rule": rule}) - peak))
    assert np.mean(errors["flow"]) <= 1
    assert np.mean(errors["middle"]) > 3  # or the test would show little


def early(clip):
    """The clip with two thirds of its rise left out and its apex hidden, and where that is."""
    rise = np.arange(clip.apex, clip.onset - 1, -3)[::-1]
    kept = np.r_[rise, np.arange(clip.apex + 1, clip.offset + 1)]
    marks = {"onset": 0, "apex": None, "offset": len(kept) - 1}
    return dataclasses.replace(clip, frames=np.asarray(clip.frames)[kept], **marks), len(rise) - 1
