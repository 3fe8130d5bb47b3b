"""A video is watched from its first frame to its last: faces, cuts, tracks and movements."""

import dataclasses

import numpy as np
import pytest

from data_prep import config
from data_prep.common.errors import UserError
from data_prep.spotting import track
from data_prep.spotting.cuts import Cuts
from data_prep.spotting.spotter import Level
from data_prep.spotting.watcher import Watcher
from data_prep.stages import face, landmarks
from data_prep.synthetic.long_video import LongVideo

FPS = 30.0
RECIPE = config.recipe().to_dict()


@pytest.fixture(scope="module")
def video():
    """Expressions of 2 to 3 px; dlib finds faces of this size."""
    return LongVideo(seed=52, subject=0, seconds=5.0, fps=FPS, amplitude=(2.0, 3.0))


@pytest.fixture(scope="module")
def frames(video):
    return list(video)


@pytest.fixture(scope="module")
def other():
    """Another person at rest."""
    still = LongVideo(seed=5, subject=3, seconds=2.0, fps=FPS, amplitude=None, still=True)
    return list(still)


def recipe(**fields):
    made = config.recipe().to_dict()
    made["face"].update(fields)
    return made


def watched(frames, watcher):
    spotted = [movement for frame in frames for movement in watcher.update(frame)]
    return spotted + watcher.end()


def marks(spotted):
    """Seconds `[n, 3]` of onset, apex and offset."""
    clips = [movement.clip for movement in spotted]
    told = [(clip.onset, clip.apex, clip.offset) for clip in clips]
    return (np.array(told) + [[clip.first] for clip in clips]) / FPS


def planted(video):
    return np.array([dataclasses.astuple(one)[:3] for one in video.expressions])


def window(watcher, index):
    found = watcher.stretches[index].window
    assert found is not None
    return found


@pytest.fixture
def blind(monkeypatch):
    """No face detector: whoever asks fails."""

    def ask(*_, **__):
        raise AssertionError("dlib was asked")

    monkeypatch.setattr(landmarks, "find_all", ask)
    monkeypatch.setattr(landmarks, "has_face", ask)


@pytest.fixture
def told(monkeypatch):
    """Faces are what the test says: a function of the look's index; and how often it was asked."""
    asked = []

    def use(faces):
        def find(*_, **__):
            asked.append(True)
            return faces(len(asked) - 1)

        monkeypatch.setattr(landmarks, "find_all", find)
        monkeypatch.setattr(landmarks, "has_face", lambda *_, **__: True)
        return asked

    return use


def test_what_is_planted_is_told_once_with_the_frames_around_it(video, frames):
    watcher = Watcher(RECIPE, FPS, name="film")
    spotted = watched(frames, watcher)
    assert len(video.expressions) == len(spotted) > 1
    np.testing.assert_allclose(marks(spotted), planted(video), atol=0.05)
    (stretch,) = watcher.stretches
    assert (stretch.first, stretch.last, stretch.kind, stretch.faces) == (0, 149, "face", 1)
    assert not watcher.notes
    for clip in (movement.clip for movement in spotted):
        last = clip.first + len(clip.frames) - 1
        # Two seconds, a period of the slowest movement that is magnified, as far as there are any.
        assert clip.first == max(0, clip.first + clip.onset - 60)
        assert last == min(149, clip.first + clip.offset + 60)
        assert (clip.name, clip.fps) == (f"video/unknown/film_{clip.first + clip.onset}", FPS)
        assert (clip.label, clip.emotion, clip.apex_estimated) == ("unknown", "unknown", True)


def test_crops_are_those_of_the_face_stage(frames):
    (clip, *_) = (movement.clip for movement in watched(frames, Watcher(RECIPE, FPS)))
    found, _ = landmarks.detect(frames[0])
    matrix = face.align(found, 134, 15)
    np.testing.assert_array_equal(clip.transform, matrix)
    np.testing.assert_array_equal(clip.landmarks, face.transform_points(found, matrix))
    crops = np.asarray(clip.frames)
    assert crops.shape[1:] == (164, 164)
    for index in (0, clip.onset, clip.offset):
        expected = face.warp(frames[clip.first + index], matrix, 164)
        np.testing.assert_array_equal(crops[index], expected)


def test_the_course_is_highest_at_the_apexes(video, frames):
    watcher = Watcher(RECIPE, FPS)
    spotted = watched(frames, watcher)
    course = watcher.course
    assert (np.diff(course.frame) > 0).all()
    assert course.frame[0] >= 0
    assert course.frame[-1] <= 149
    assert np.isnan(course.movement[[0, -1]]).all()
    with np.errstate(invalid="ignore"):
        above = course.frame[course.movement > course.threshold] / FPS
    apexes = planted(video)[:, 1]
    assert np.abs(above[:, None] - apexes).min(1).max() < 0.2
    for movement, apex in zip(spotted, apexes):
        near = np.abs(course.frame / FPS - apex) < 0.1
        assert np.nanmax(course.movement[near]) == pytest.approx(movement.movement, rel=0.01)


def test_a_given_transform_needs_no_detector(video, frames, blind):
    by_points = watched(frames, Watcher(RECIPE, FPS, landmarks=video.landmarks))
    eyes = video.landmarks[36:48].mean(0)
    left, top = (round(edge) for edge in eyes - [100, 64])  # the window's, of a face as aligned
    boxed = Watcher(recipe(points="box", box=(left, top, 200, 200)), FPS)
    by_box = watched(frames, boxed)
    for spotted in (by_points, by_box):
        np.testing.assert_allclose(marks(spotted), planted(video), atol=0.06)
    assert by_box[0].clip.landmarks is None
    corners = [(left - 0.5, top - 0.5), (left + 199.5, top + 199.5)]
    np.testing.assert_allclose(window(boxed, 0)[[0, 2]], corners)


def test_marks_count_from_the_first_frame(video, frames, blind):
    watcher = Watcher(RECIPE, FPS, landmarks=video.landmarks, first=1000)
    spotted = watched(frames, watcher)
    np.testing.assert_allclose(marks(spotted) - 1000 / FPS, planted(video), atol=0.06)
    assert (watcher.stretches[0].first, watcher.stretches[0].last) == (1000, 1149)


def test_no_movement_spans_a_cut(video, frames, other):
    # The cut is at the apex of the second expression.
    cut = round(video.expressions[1].apex * FPS)
    watcher = Watcher(RECIPE, FPS)
    spotted = watched([*frames[:cut], *other], watcher)
    np.testing.assert_allclose(marks(spotted), planted(video)[:1], atol=0.05)
    kinds = [(each.first, each.last, each.kind, each.cut) for each in watcher.stretches]
    assert kinds == [(0, cut - 1, "face", False), (cut, cut + len(other) - 1, "face", True)]
    clip = spotted[0].clip
    assert clip.first + len(clip.frames) <= cut


def test_a_flash_and_flicker_are_no_cuts(frames):
    cuts = Cuts(FPS)
    for number, frame in enumerate(frames[:40]):
        light = 1.6 if number % 2 else 0.7
        shown = np.full_like(frame, 255) if number == 20 else np.clip(light * frame, 0, 255)
        assert not cuts.update(shown.astype(np.uint8))
    assert cuts.update(frames[40][::-1, ::-1])


def test_without_a_face_it_is_looked_for_once_a_second(told):
    asked = told(lambda _: [])
    watcher, noise = Watcher(RECIPE, FPS), np.random.default_rng(0)
    scene = noise.integers(0, 256, (90, 120, 3), np.uint8)
    assert not watched([scene] * 95, watcher)
    assert len(asked) == 4
    (stretch,) = watcher.stretches
    assert (stretch.first, stretch.last, stretch.kind) == (0, 94, "no face")
    assert len(watcher.course.frame) == 0


def test_a_face_that_is_lost_and_comes_back(video, frames, told):
    # It is gone at the look of 3 s, so that what comes after that of 2 s is not trusted.
    told(lambda look: [] if look == 3 else [video.landmarks])
    watcher = Watcher(RECIPE, FPS)
    spotted = watched(frames, watcher)
    kinds = [(stretch.first, stretch.last, stretch.kind) for stretch in watcher.stretches]
    assert kinds == [(0, 60, "face"), (61, 119, "no face"), (120, 149, "face")]
    trusted = planted(video)[planted(video)[:, 2] < 2.0]
    assert len(trusted) == len(spotted) < len(video.expressions)


def test_a_face_elsewhere_is_another_one(video, frames, told):
    told(lambda look: [video.landmarks + (np.array([0, 150]) if look > 3 else 0)])
    watcher = Watcher(RECIPE, FPS)
    spotted = watched(frames, watcher)
    kinds = [(stretch.first, stretch.last, stretch.kind) for stretch in watcher.stretches]
    assert kinds == [(0, 119, "face"), (120, 149, "face")]
    # The second ends after the look of 3 s, the last one that the face was seen at.
    np.testing.assert_allclose(marks(spotted), planted(video)[:1], atol=0.06)


def test_of_several_faces_the_one_that_was_followed_is(video, frames, told):
    far = video.landmarks + np.array([400, 0])
    told(lambda look: [video.landmarks] if look == 0 else [far, video.landmarks + 0.5])
    watcher = Watcher(RECIPE, FPS)
    spotted = watched(frames, watcher)
    assert len(spotted) == len(video.expressions)
    assert len(watcher.stretches) == 1
    (note,) = watcher.notes
    assert note == "2 faces in frame 30; the one nearest to the previous position is followed."


def test_of_two_people_the_larger_is_taken_at_first(frames, other):
    both = [np.hstack([one[20:-20, 20:-20], two[20:-20]]) for one, two in zip(frames[:3], other)]
    watcher = Watcher(RECIPE, FPS)
    watched(both, watcher)
    assert watcher.stretches[0].faces == 2
    assert "2 faces in frame 0; the largest is used" in watcher.notes[0]


def test_a_head_that_has_moved_is_followed_and_no_movement_is_lost(video, frames):
    # By a fifth of the distance between the eyes, in steps, through both expressions.
    moved = [np.roll(frame, index // 10, axis=1) for index, frame in enumerate(frames)]
    watcher = Watcher(RECIPE, FPS)
    spotted = watched(moved, watcher)
    assert len(watcher.stretches) > 1
    assert {stretch.kind for stretch in watcher.stretches} == {"face"}
    assert [s.first for s in watcher.stretches[1:]] == [s.last + 1 for s in watcher.stretches[:-1]]
    np.testing.assert_allclose(marks(spotted), planted(video), atol=0.06)
    left, right = (window(watcher, end)[:, 0].mean() for end in (0, -1))
    assert 6 < right - left < 16


def test_an_unread_frame_is_a_gap(video, frames, told):
    told(lambda _: [video.landmarks])
    gap = round(video.expressions[1].apex * FPS)
    watcher = Watcher(RECIPE, FPS)
    spotted = watched([*frames[:gap], None, *frames[gap + 1 :]], watcher)
    np.testing.assert_allclose(marks(spotted[:1]), planted(video)[:1], atol=0.06)
    assert all(abs(apex - gap / FPS) > 0.1 for apex in marks(spotted)[:, 1])
    kinds = [(stretch.first, stretch.last, stretch.kind) for stretch in watcher.stretches]
    assert kinds == [(0, gap - 1, "face"), (gap, gap, "unread"), (gap + 1, 149, "face")]


def test_a_clip_shorter_than_a_second_is_watched_too(video, frames, blind):
    first, last = (round(second * FPS) for second in planted(video)[0, [0, 2]])
    short = frames[first - 5 : last + 6]
    spotted = watched(short, Watcher(RECIPE, FPS, landmarks=video.landmarks, first=first - 5))
    np.testing.assert_allclose(marks(spotted), planted(video)[:1], atol=0.06)


@pytest.mark.parametrize("fps", [30.0, 200.0, 1000.0])
def test_what_a_track_holds_is_bounded(fps):
    made = track.TrackSettings("film", fps, 134, 15, 2.0, Level(fps))
    one = track.Track(made, 0, np.eye(3)[:2], None)
    assert 4 * 164**2 * one.capacity < 300e6
    if fps <= 200:  # an onset's reach and two seconds on either side
        assert one.capacity > 5 * fps


def test_what_is_held_does_not_grow(video, frames, blind):
    made = recipe()
    made["size"] = 28
    watcher = Watcher(made, FPS, landmarks=video.landmarks)
    for frame in [*frames, *frames[::-1]] * 2:
        watcher.update(frame)
    (one,) = watcher._tracks
    assert len(one._crops) == one.capacity < 200


def test_a_transform_for_every_frame_is_refused():
    with pytest.raises(UserError, match="set it False"):
        Watcher(recipe(per_frame=True), FPS)


def test_too_fast_a_camera_is_refused():
    with pytest.raises(UserError, match="film: 2000 frames a second"):
        Watcher(RECIPE, 2000.0, name="film")


def test_a_box_or_landmarks_of_another_video_are_refused(frames):
    with pytest.raises(UserError, match=r"film: face\.box"):
        Watcher(recipe(points="box", box=(0, 0, 999, 99)), FPS, name="film").update(frames[0])
    with pytest.raises(UserError, match="film: the landmarks put the eyes outside"):
        Watcher(RECIPE, FPS, landmarks=np.full((68, 2), 999.0), name="film").update(frames[0])


def test_a_long_synthetic_video_is_the_same_at_any_rate():
    slow, fast = (
        LongVideo(seed=9, subject=1, seconds=3.0, fps=fps, size=64) for fps in (30.0, 60.0)
    )
    assert slow.expressions == fast.expressions
    assert len(fast) == 2 * len(slow) == 180
    for number in (0, 45):
        np.testing.assert_allclose(slow._head[number], fast._head[2 * number])
    once, again = (next(iter(slow)) for _ in range(2))
    np.testing.assert_array_equal(once, again)
