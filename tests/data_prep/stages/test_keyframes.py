"""Which frames are kept, and what TIM makes of too few."""

import dataclasses

import numpy as np
import pytest

from data_prep.clip import Clip
from data_prep.common.errors import UserError
from data_prep.stages import keyframes

RULES = ["slices", "uniform", "tim"]


def landmarks():
    points = np.zeros((68, 2), np.float32)
    points[36:48, 1], points[48:68, 1], points[27:31, 0] = 10.0, 30.0, 20.0
    return points


def ramp_clip(progress, onset=0, offset=None, apex=None):
    """A brightness edge that has crept by `progress[t]` px; every pixel row and column sees it."""
    y, x = np.mgrid[:40, :40]
    frames = np.stack([128 + 100 * np.tanh((x + y - 40 - s) / 6) for s in progress])
    offset = len(frames) - 1 if offset is None else offset
    return Clip(
        frames.astype(np.float32),
        100.0,
        onset,
        apex,
        offset,
        "s",
        "c",
        "positive",
        "joy",
        "test",
        landmarks=landmarks(),
    )


def frames_of(clip):
    return np.asarray(clip.frames)


def positions_of(clip):
    assert clip.positions is not None
    return clip.positions


def chosen(clip, before):
    """The index in `before` of each key frame."""
    differences = np.abs(frames_of(clip)[:, None] - frames_of(before)).mean(axis=(2, 3))
    assert (differences.min(axis=1) < 1e-3).all()
    return differences.argmin(axis=1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("length", [3, 8, 9, 10, 25, 60])
@pytest.mark.parametrize("share", [None, 0.0, 0.1, 0.4, 1.0])
def test_count_and_marks(rule, length, share):
    apex = None if share is None else 5 + round(share * (length - 1))
    before = ramp_clip(np.arange(length + 9) ** 1.5, onset=5, offset=length + 4, apex=apex)
    clip = keyframes.select(before, count=9, rule=rule, radius=2)
    assert len(clip.frames) == 9
    assert (clip.onset, clip.offset) == (0, 8)
    assert clip.fps == pytest.approx(8 / ((length - 1) / 100))
    np.testing.assert_allclose(clip.frames[0], before.frames[5], atol=1e-2)
    np.testing.assert_allclose(clip.frames[8], before.frames[length + 4], atol=1e-2)
    assert (clip.apex is None) == (apex is None)
    if clip.apex is not None and apex is not None:
        assert positions_of(clip)[clip.apex] == apex
        np.testing.assert_allclose(clip.frames[clip.apex], before.frames[apex], atol=1e-2)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("length", [5, 9, 30])
def test_positions_say_where_the_frames_come_from(rule, length):
    before = ramp_clip(np.linspace(0, 9, length + 7), onset=4, offset=length + 3, apex=6)
    clip = keyframes.select(before, count=9, rule=rule, radius=2)
    positions = positions_of(clip)
    assert (np.diff(positions) > 0).all()
    assert (positions[0], positions[-1]) == (4, length + 3)
    whole = positions == positions.astype(int)
    at_frames = frames_of(before)[positions[whole].astype(int)]
    np.testing.assert_allclose(frames_of(clip)[whole], at_frames, atol=1e-2)
    assert whole.all() == (length == 9 or (rule != "tim" and length > 9))


@pytest.mark.parametrize("rule", ["slices", "uniform"])
@pytest.mark.parametrize("apex", [None, 6, 7, 20])
def test_frames_are_real_distinct_and_in_order(rule, apex):
    # Nearly all of the change lies in three frames: equal steps of it would take one frame twice.
    progress = np.cumsum(np.r_[np.full(10, 0.01), [6.0, 7.0, 8.0], np.full(12, 0.01)])
    before = ramp_clip(progress, onset=2, offset=22, apex=apex)
    indices = chosen(keyframes.select(before, count=9, rule=rule, radius=2), before)
    assert (np.diff(indices) > 0).all()
    assert (indices[0], indices[-1]) == (2, 22)
    assert apex is None or apex in indices
    np.testing.assert_array_equal(
        indices, keyframes.select(before, count=9, rule=rule, radius=2).positions
    )


def test_uniform_is_evenly_spaced():
    before = ramp_clip(np.arange(33.0))
    clip = keyframes.select(before, count=17, rule="uniform", radius=2)
    np.testing.assert_array_equal(chosen(clip, before), np.arange(0, 33, 2))


def test_slices_follow_the_change():
    # The edge moves in the second half only, and that is where the key frames are.
    before = ramp_clip(np.r_[np.arange(30) * 0.01, np.arange(1, 31) * 1.0])
    by_slices = chosen(keyframes.select(before, count=9, rule="slices", radius=0), before)
    by_time = chosen(keyframes.select(before, count=9, rule="uniform", radius=0), before)
    assert (by_slices >= 30).sum() == 8
    assert (by_time >= 30).sum() < 6


@pytest.mark.parametrize("radius", [0, 2])
def test_a_still_clip_is_sampled_in_time(radius):
    before = ramp_clip(np.zeros(33))
    clip = keyframes.select(before, count=9, rule="slices", radius=radius)
    np.testing.assert_array_equal(clip.positions, np.arange(0, 33, 4))


def test_slices_are_cut_through_the_landmarks():
    clip = ramp_clip(np.arange(5.0))
    lines = keyframes.slices(clip)
    assert [(line.name, line.axis, line.position) for line in lines] == [
        ("eye line", 0, 10),
        ("mouth line", 0, 30),
        ("mid-line", 1, 20),
    ]
    np.testing.assert_array_equal(lines[1].image, frames_of(clip)[:, 30, :])
    np.testing.assert_array_equal(lines[2].image, frames_of(clip)[:, :, 20])


def test_slices_without_landmarks_lie_where_an_aligned_face_has_eyes_and_mouth():
    clip = dataclasses.replace(ramp_clip(np.arange(5.0)), landmarks=None)
    assert [line.position for line in keyframes.slices(clip)] == [14, 26, 20]


def test_slices_beyond_the_crop_are_cut_at_its_edge():
    clip = dataclasses.replace(ramp_clip(np.arange(5.0)), landmarks=landmarks() + 35)
    assert [line.position for line in keyframes.slices(clip)] == [39, 39, 39]


def test_nearest_pixel_matching_ignores_movement_within_its_radius():
    rng = np.random.default_rng(0)
    line = rng.uniform(0, 255, 64).astype(np.float32)
    image = np.stack([line, np.roll(line, 2), np.roll(line, 5)])
    inner = slice(6, -6)
    near = keyframes._slice_distances(image[:, inner], 2)
    plain = keyframes._slice_distances(image[:, inner], 0)
    np.testing.assert_allclose(plain, np.abs(np.diff(image[:, inner], axis=0)).mean(1), rtol=1e-5)
    assert near[0] < plain[0] / 20  # all but the two at the end find their pixel
    assert plain[1] / 10 < near[1] < plain[1]  # a step of 3 px lies beyond the radius


def zhou(frames, count):
    """TIM as its authors write it: SVD of the mean-free frames, least squares, the curve."""
    length = len(frames)
    data = frames.reshape(length, -1).T.astype(np.float64)
    mean = data.mean(axis=1, keepdims=True)
    left, singular, right = np.linalg.svd(data - mean, full_matrices=False)
    left, singular, right = (part[..., : length - 1] for part in (left, singular, right.T))

    def curve(times):
        order = np.arange(1, length)[:, None]
        return np.sin(np.pi * order * times + np.pi * (length - order) / (2 * length))

    known = curve(np.arange(1, length + 1) / length)
    matrix = np.linalg.lstsq(known.T, right * singular, rcond=None)[0].T
    made = left @ (matrix @ curve(np.linspace(1 / length, 1, count))) + mean
    return made.T.reshape(count, *frames.shape[1:])


@pytest.mark.parametrize(("length", "count"), [(2, 5), (6, 17), (20, 9)])
def test_tim_is_zhous(length, count):
    frames = np.random.default_rng(0).uniform(50, 200, (length, 6, 5))
    expected = np.clip(zhou(frames, count), 0, 255)
    made = keyframes.interpolate(frames, np.linspace(0, length - 1, count))
    np.testing.assert_allclose(made, expected, atol=1e-2)


def test_tim_goes_through_the_frames_it_is_given():
    frames = frames_of(ramp_clip(np.linspace(0, 8, 5)))
    made = keyframes.interpolate(frames, np.linspace(0, 4, 17))
    np.testing.assert_allclose(made[::4], frames, atol=1e-2)


def test_tim_puts_a_slow_movement_between_its_frames():
    y, x = np.mgrid[:20, :20]

    def waves(times):
        return 128 + 90 * np.cos(np.pi * (times[:, None, None] + 0.5) / 12 + (x + y) / 9)

    places = np.linspace(3, 8, 16)  # away from the ends, where the cosine is not the clip's own
    made = keyframes.interpolate(waves(np.arange(12.0)), places)
    assert np.abs(made - waves(places)).max() < 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "random"}, "keyframes.rule"),
        ({"count": 2}, "steps"),
    ],
)
def test_wrong_settings_are_named(change, message):
    settings = {"count": 5, "rule": "uniform", "radius": 2, **change}
    with pytest.raises(UserError, match=message):
        keyframes.select(ramp_clip(np.arange(9.0)), **settings)


@pytest.mark.parametrize("marks", [(4, 4, None), (5, 2, None), (0, 9, None), (0, 8, 9), (2, 8, 1)])
def test_wrong_annotations_are_named(marks):
    onset, offset, apex = marks
    with pytest.raises(UserError, match="test/s/c"):
        keyframes.select(
            ramp_clip(np.arange(9.0), onset, offset, apex), count=5, rule="tim", radius=2
        )
