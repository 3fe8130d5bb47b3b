"""A single video as a user prepares it: what is made, what is told, what is left alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep import config as configs
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.pipeline import one_video, video_source
from data_prep.stages import landmarks
from data_prep.video import pictures
from data_prep.video.frames import open_frames
from helpers import ROOT


def small():
    recipe = configs.recipe()
    recipe.size, recipe.steps, recipe.face.points = 32, 4, "box"
    recipe.flow.iterations = recipe.flow.warps = 2
    return recipe.to_dict()


RECIPE = small()
NAME = "light-" * 40 + ".avi"  # nearly as long as a name may be


def film(path, count, fps=100.0):
    """A soft light that moves to the right by 0.2 px a frame."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (96, 72))
    rows, columns = np.mgrid[:72, :96]
    for index in range(count):
        light = np.exp(-((columns - 40 - 0.2 * index) ** 2 + (rows - 36) ** 2) / 200)
        writer.write(np.dstack([40 + 180 * light] * 3).astype(np.uint8))
    writer.release()
    return path


def marked(path, **marks):
    return video_source.MarkedVideo(path, **marks)


def load(entry, around=0.0):
    return video_source.VideoSource(entry, around).load(entry)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A prepared video, and what was told."""
    folder = tmp_path_factory.mktemp("video")
    told = []
    entry = marked(film(folder / NAME, 60), onset=20, apex=31, offset=40, fps=50.0)
    one_video.prepare(entry, folder / "out", RECIPE, told.append)
    return folder / "out", "\n".join(told)


def test_the_folder_holds_flow_key_frames_preview_and_how_they_were_made(clip):
    out, _ = clip
    flow = np.load(out / "flow.npy")
    assert (flow.shape, flow.dtype) == ((4, 40, 40, 2), np.float16)
    middle = flow[-1, 15:25, 15:25].mean(axis=(0, 1))
    assert middle[0] > 3 * abs(middle[1])  # to the right
    assert [pictures.read(path).shape for path in sorted(out.glob("key-*.png"))] == [(40, 40)] * 5
    said = json.loads((out / "clip.json").read_text())
    assert (said["onset"], said["apex"], said["offset"], said["fps"]) == (20, 31, 40, 50.0)
    assert said["key_frames"][0] == 20
    assert said["key_frames"][said["apex_index"]] == 31
    assert said["key_frames"][-1] == 40
    assert said["frames_read"] == [0, 59]  # two seconds around, as far as they are there
    assert said["prep"] == json.loads(json.dumps(RECIPE))
    assert cv2.imread(str(out / "preview.png")) is not None
    assert cv2.imread(str(out / "slices.png")) is not None
    assert cv2.VideoCapture(str(out / "preview.mp4")).read()[0]
    assert [path.name for path in out.parent.iterdir() if path != out] == [NAME]


def test_the_user_is_told_what_was_made(clip):
    out, told = clip
    assert f"Frames 20 to 40, 0.40 s at 50 frames per second. In {out}:" in told
    assert "4 flow fields of 40 x 40" in told
    assert max(len(line) for line in told.replace(str(out), "clip").splitlines()) < 80


@pytest.fixture
def quick(monkeypatch):
    """Neither flow nor preview, which take seconds."""
    flow = np.ones((4, 2, 2, 2))
    monkeypatch.setattr(one_video.record, "with_flow", lambda made, *_: made | {"flow": flow})
    monkeypatch.setattr(one_video.preview, "write", lambda *_: [])


@pytest.mark.usefixtures("quick")
def test_only_what_the_command_wrote_is_replaced(clip):
    out, _ = clip
    entry = marked(out.parent / NAME, onset=5, offset=15)
    one_video.prepare(entry, out, RECIPE, lambda _: None)
    assert json.loads((out / "clip.json").read_text())["onset"] == 5
    assert not (out / "preview.png").exists()
    (out / "mine.txt").touch()
    with pytest.raises(UserError, match=r"this command did not write \(mine\.txt\).*--out"):
        one_video.prepare(entry, out, RECIPE, lambda _: None)


@pytest.mark.usefixtures("quick")
def test_a_link_to_a_folder_stays_one(tmp_path):
    (tmp_path / "disk").mkdir()
    out = tmp_path / "link"
    out.symlink_to(tmp_path / "disk")
    for _ in range(2):
        one_video.prepare(marked(film(tmp_path / "a.avi", 20)), out, RECIPE, lambda _: None)
    assert out.is_symlink()
    assert (tmp_path / "disk" / "flow.npy").is_file()


def test_the_present_folder_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for out in (Path(), tmp_path):
        with pytest.raises(UserError, match=r"which cannot be replaced.*--out=clip/"):
            one_video.prepare(marked(Path("a.avi")), out, RECIPE)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("fault", "told"),
    [(KeyboardInterrupt(), "^$"), (OSError(28, "No space left on device"), "No space left.*--out")],
)
def test_nothing_half_made_is_left(tmp_path, monkeypatch, fault, told):
    def fail(*_):
        raise fault

    monkeypatch.setattr(one_video.preview, "write", fail)
    path = film(tmp_path / "a.avi", 60)
    with pytest.raises((KeyboardInterrupt, UserError), match=told):
        one_video.prepare(marked(path), tmp_path / "out", RECIPE, lambda _: None)
    assert [*tmp_path.iterdir()] == [path]


def test_what_lies_at_out_is_left_alone(tmp_path):
    for out in (tmp_path / "file", tmp_path / "folder"):
        (out / "a").mkdir(parents=True) if out.name == "folder" else out.touch()
        with pytest.raises(UserError, match="this command did not write"):
            one_video.prepare(marked(tmp_path / "none"), out, RECIPE)


def test_around_the_marks_only_what_a_band_pass_needs_is_taken(tmp_path, monkeypatch):
    path = film(tmp_path / "a.avi", 60)
    clip = load(marked(path, onset=30, offset=34), around=0.05)
    assert (clip.first, clip.onset, clip.offset, len(clip.frames)) == (25, 5, 9, 15)
    whole = list(open_frames(path))
    np.testing.assert_array_equal(list(clip.frames), whole[25:40])
    monkeypatch.setattr(video_source, "MAX_FRAMES", 10)
    assert len(load(marked(path, onset=30, offset=34), around=9.0).frames) == 9
    with pytest.raises(UserError, match=r"more than 10 frames .* --onset=120 --offset=180"):
        load(marked(path))
    with pytest.raises(UserError, match="more than 10 frames"):
        load(marked(path, onset=1, offset=11))


def test_a_folder_of_frames_is_known_by_its_numbers_and_needs_a_rate(tmp_path):
    for number in range(98, 110):
        cv2.imwrite(str(tmp_path / f"img_{number}.png"), np.full((8, 8), number, np.uint8))
    clip = load(marked(tmp_path, onset=99, apex=101, offset=105, fps=200.0))
    assert (clip.first, clip.onset, clip.apex, clip.offset, clip.fps) == (99, 0, 2, 6, 200.0)
    assert [int(frame[0, 0]) for frame in clip.frames] == [*range(99, 106)]
    with pytest.raises(UserError, match="--fps=200"):
        load(marked(tmp_path))
    with pytest.raises(UserError, match=r"absent, first 110; there are 98 to 109\. .*--offset"):
        load(marked(tmp_path, onset=99, offset=120, fps=200.0))


def test_marks_keep_their_numbers_after_a_gap(tmp_path):
    for number in (3, 4, *range(20, 32)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8), number, np.uint8))
    clip = load(marked(tmp_path, onset=22, offset=28, fps=100.0), around=1.0)
    assert (clip.first + clip.onset, clip.first + clip.offset) == (22, 28)
    assert (clip.frames[clip.onset][0, 0], len(clip.frames)) == (22, 14)
    assert "15 numbers between 3 and 31" in clip.notes[0]


@pytest.mark.parametrize("fps", [0.0, -25.0, 30_000.0, float("nan"), float("inf")])
def test_a_rate_that_no_camera_has_is_refused(tmp_path, fps):
    path = film(tmp_path / "a.avi", 5)
    with pytest.raises(UserError, match=r"--fps=.* it must be 1 to 20000 frames per second"):
        load(marked(path, fps=fps))


def test_a_whole_video_as_one_movement_is_told(tmp_path):
    path = film(tmp_path / "a.avi", 150)
    assert "1.5 s are taken as one movement" in load(marked(path)).notes[0]
    assert not load(marked(path, onset=0, offset=149)).notes
    assert not load(marked(film(path, 50))).notes


def test_landmarks_of_a_file_are_those_of_the_onset(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(landmarks, "read", lambda *call: read.append(call) or np.ones((68, 2)))
    path = film(tmp_path / "a.avi", 20)
    clip = load(marked(path, onset=7, offset=12, landmarks=tmp_path / "points.csv"))
    assert read == [(tmp_path / "points.csv", 7)]
    assert clip.landmarks is not None
    with pytest.raises(UserError, match=r"--landmarks=.*config\.prep\.face\.points=auto"):
        one_video.prepare(marked(path, landmarks=tmp_path / "p"), tmp_path / "o", RECIPE)


def command(*arguments):
    """Exit status and stderr, as one line."""
    done = subprocess.run(
        [sys.executable, "-m", "data_prep", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["--video=none.mp4"], "--out=clip/"),
        (["--video", "none.mp4", "--out=x"], "none.mp4: there is no such video or folder"),
        (["--video=none.mp4", "--out=x", "--config.prep.face.boxx=1"], 'Did you mean "box"'),
        (["--video=a", "--out=x", "--config.prep.face.box=(1,2,0,4)"], "config.prep.face.box is"),
        (["--video=a", "--out=x", "--config.prep.face.box=(1,2,3,4)"], "prep.face.points=box"),
        (["--video=~/none.mp4", "--out=x"], str(Path.home() / "none.mp4")),
        (["--video=", "--out=x"], "--video: no path is given"),
        (["--onset=3", "--config=configs/synthetic.py"], "--onset: no video is given"),
        ([], "--config=configs/synthetic.py, or give --video"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(arguments, remedy):
    status, told = command(*arguments)
    assert status == 2
    assert remedy in told
