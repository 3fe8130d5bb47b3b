"""From a video to the folder of its answers; the network's weights are made up."""

import csv
import dataclasses
import json
import shutil

import made_run
import numpy as np
import pytest

from data_prep.cv import cv2
from data_prep.errors import UserError
from data_prep.synthetic_long import LongVideo
from mser_jax import asked, asking, export, load, predict
from mser_jax.answers import VideoAnswer

FPS, SECONDS = 50, 9
CLASSES = made_run.CLASSES


def plain(items, total, title):
    """A bar that shows nothing."""
    return items


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def model(place):
    config = made_run.small()
    # Without the magnification, which wants two seconds around a movement, the video may be short.
    config.prep.stages = ("face", "apex", "keyframes")
    export.export(made_run.write(place / "run", config), place / "model")
    return place / "model"


@pytest.fixture(scope="module")
def drawn():
    return LongVideo(seed=3, subject=1, seconds=SECONDS, fps=FPS, size=128, amplitude=(2.0, 3.0))


@pytest.fixture(scope="module")
def video(place, drawn):
    """A file of `drawn`, and the landmarks of its first frame."""
    path = place / "face.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (128, 128))
    for frame in drawn:
        writer.write(frame[..., ::-1])
    writer.release()
    np.savetxt(place / "points.csv", drawn.landmarks, delimiter=",")
    return path


@pytest.fixture(scope="module")
def done(place, model, video):
    """The command's answer, at its default settings."""
    out = place / "answers"
    points = place / "points.csv"
    assert predict.main([str(model), str(video), f"--out={out}", f"--landmarks={points}"]) == 0
    return out / "face"


def rows(folder):
    with (folder / "predictions.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def decoded(video):
    capture = cv2.VideoCapture(str(video))
    while (read := capture.read())[0]:
        yield read[1][..., ::-1]


def test_the_command_leaves_what_it_names(done):
    names = {file.name for file in done.iterdir()}
    assert names == {"answers.json", "predictions.csv", "timeline.png", "SHA256SUMS"}
    assert rows(done) == rows(done.parent)


def test_the_planted_movements_are_found_and_classified(done, drawn):
    found = rows(done)
    apexes = [float(row["apex_s"]) for row in found]
    for planted in drawn.planted:
        assert min(abs(planted.apex - apex) for apex in apexes) < 0.1
    assert len(found) <= len(drawn.planted) + 2
    for row in found:
        probabilities = [float(row[f"probability_{name}"]) for name in CLASSES]
        assert sum(probabilities) == pytest.approx(1, abs=1e-3)
        assert float(row["confidence"]) == max(probabilities)
        assert row["class"] == CLASSES[int(np.argmax(probabilities))]
        assert row["calibrated"] == "yes"


def test_python_says_what_the_command_says(done, model, video, drawn):
    found = load(model).predict(decoded(video), FPS, landmarks=drawn.landmarks)
    assert isinstance(found, VideoAnswer)
    assert found.frames == SECONDS * FPS
    assert [answer.apex for answer in found.answers] == [int(row["apex"]) for row in rows(done)]
    for answer, row in zip(found.answers, rows(done)):
        assert answer.label == row["class"]
        assert answer.confidence == pytest.approx(float(row["confidence"]), abs=2e-3)
        assert len(answer.heads) == 4
        chosen = answer.heads[(answer.head or 0) - 1]
        assert chosen[answer.label] == max(chosen.values())


def test_a_second_call_makes_nothing_anew(done, model, video, capsys):
    before = (done / "timeline.png").stat().st_mtime_ns
    arguments = [str(model), str(video), f"--out={done.parent}"]
    assert predict.main([*arguments, f"--landmarks={done.parent.parent / 'points.csv'}"]) == 0
    assert f"Reused {done}" in capsys.readouterr().out
    assert (done / "timeline.png").stat().st_mtime_ns == before


def test_a_marked_movement_is_one_row(tmp_path, model, video, place, capsys):
    arguments = [str(model), str(video), f"--out={tmp_path}", f"--landmarks={place / 'points.csv'}"]
    assert predict.main([*arguments, "--onset=60", "--offset=85", "--film"]) == 0
    (row,) = rows(tmp_path)
    assert (row["onset"], row["offset"], row["movement_px"]) == ("60", "85", "")
    assert 60 < int(row["apex"]) <= 85
    assert row["apex_estimated"] == "yes"
    assert float(row["onset_s"]) == 60 / FPS
    film = cv2.VideoCapture(str(tmp_path / "face" / "overlay.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == (85 + FPS) - (60 - FPS) + 1
    assert predict.main([*arguments, "--onset=85", "--offset=60"]) == 2
    assert "Correct --onset" in capsys.readouterr().err


def test_an_interrupted_video_goes_on_and_ends_alike(tmp_path, model, video, place, done):
    wish = asked.Asked(video, landmarks=place / "points.csv")
    loaded, seen = load(model), []

    def stopped(items, total, title):
        for number, *rest in items:
            if number == 350 and not seen:
                raise KeyboardInterrupt
            yield number, *rest

    with pytest.raises(KeyboardInterrupt):
        asking.answer(loaded, wish, tmp_path / "face", stopped)
    assert not (tmp_path / "face").exists()
    kept = json.loads((tmp_path / "unfinished_face" / "answers.json").read_text())
    assert kept["settled"] > 150
    assert kept["answer"]["answers"]

    def counted(items, total, title):
        for item in items:
            seen.append(item[0])
            yield item

    again, reused = asking.answer(loaded, wish, tmp_path / "face", counted)
    assert not reused
    whole = json.loads((done / "answers.json").read_text())["answer"]
    assert [each.apex for each in again.answers] == [each["apex"] for each in whole["answers"]]
    assert again.frames == whole["frames"]
    assert again.course
    assert again.course.frame.tolist() == whole["course"]["frame"]
    assert not (tmp_path / "unfinished_face").exists()


def test_other_wishes_do_not_reuse(done, model, video, place):
    wish = asked.Asked(video, landmarks=place / "points.csv")
    digest = load(model).digest
    assert wish.key(digest) == json.loads((done / "answers.json").read_text())["asked"]
    others = (
        dataclasses.replace(wish, fps=49.0),
        dataclasses.replace(wish, film=True),
        dataclasses.replace(wish, landmarks=None),
    )
    for other in others:
        assert other.key(digest) != wish.key(digest)
    assert wish.key("another model") != wish.key(digest)


def test_of_several_videos_the_others_are_answered(tmp_path, model, video, capsys):
    broken, copy = tmp_path / "broken.avi", tmp_path / "copy.avi"
    broken.write_bytes(b"no video at all")
    shutil.copyfile(video, copy)
    out = tmp_path / "out"
    assert predict.main([str(model), str(tmp_path / "*.avi"), f"--out={out}"]) == 2
    said = capsys.readouterr()
    assert "broken.avi: not a video that OpenCV can read" in said.err
    assert "1 of 2 videos have no answer" in said.err
    assert (out / "copy" / "predictions.csv").is_file()
    assert {row["video"] for row in rows(out)} <= {str(copy)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["MODEL", "none.mp4"], "none.mp4: there is no such video"),
        (["MODEL", "*.none"], "nothing matches this pattern"),
        (["MODEL", "EMPTY"], "neither videos nor numbered frames"),
        (["MODEL", "a.mp4", "b.mp4", "--onset=3"], "one command for each"),
        (["nowhere", "VIDEO"], "no exported model"),
        (["MODEL", "VIDEO", "--fps=0.1"], "--fps=0.1"),
    ],
)
def test_a_mistake_is_answered_with_the_remedy(tmp_path, model, video, capsys, arguments, told):
    (tmp_path / "empty").mkdir()
    names = {"MODEL": str(model), "VIDEO": str(video), "EMPTY": str(tmp_path / "empty")}
    arguments = [names.get(argument, argument) for argument in arguments]
    assert predict.main([*arguments, f"--out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, model, video, place, capsys):
    (tmp_path / "face").mkdir()
    (tmp_path / "face" / "mine.txt").touch()
    points = place / "points.csv"
    assert predict.main([str(model), str(video), f"--out={tmp_path}", f"--landmarks={points}"]) == 2
    assert "mine.txt" in capsys.readouterr().err
    assert (tmp_path / "face" / "mine.txt").exists()


def test_videos_of_one_name_get_folders_of_their_own(tmp_path):
    paths = [tmp_path / "a" / "face.mp4", tmp_path / "b" / "face.mp4", tmp_path / "c.mp4"]
    places = list(predict._places(paths, tmp_path / "out").values())
    assert len(set(places)) == 3
    assert places[2].name == "c" or places[2].name == "c.mp4"


@pytest.mark.parametrize(
    ("frames", "fps", "told"),
    [
        ("face.mp4", 50, "is a path, and frames are arrays"),
        ([], 50, "not one frame"),
        ([np.zeros((8, 8, 4))], 50, r"Frame 0 is of shape \[8, 8, 4\]"),
        ([np.zeros(8)], 50, "Frame 0 is of shape"),
        ([np.zeros((64, 64), np.uint8), np.zeros((60, 64), np.uint8)], 50, "of one size"),
        ([np.zeros((8, 8), np.uint8)], 0, "fps is 0"),
    ],
)
def test_what_are_no_frames_is_said(model, drawn, frames, fps, told):
    with pytest.raises(UserError, match=told):
        load(model).predict(frames, fps, landmarks=drawn.landmarks / 2)


def test_grey_frames_give_what_coloured_ones_give(model, video, drawn):
    grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in decoded(video))
    found = load(model).predict(grey, FPS, landmarks=drawn.landmarks)
    coloured = load(model).predict(decoded(video), FPS, landmarks=drawn.landmarks)
    assert len(found.answers) >= len(drawn.planted)
    assert [a.apex for a in found.answers] == [a.apex for a in coloured.answers]


def test_a_movement_that_cannot_be_classified_leaves_the_others(
    tmp_path, model, video, place, monkeypatch
):
    loaded = load(model)
    spotted, calls = loaded.spotted, []

    def failing(each, first):
        calls.append(each)
        if len(calls) == 1:
            raise UserError("the flow is not finite")
        return spotted(each, first)

    monkeypatch.setattr(loaded, "spotted", failing)
    wish = asked.Asked(video, landmarks=place / "points.csv")
    found, _ = asking.answer(loaded, wish, tmp_path / "face", plain)
    assert len(found.answers) == len(calls) - 1 > 0
    assert any("has no answer: the flow is not finite" in note for note in found.notes)


def test_a_network_for_images_refuses_videos(model):
    loaded = load(model)
    loaded.config.input.kind = "images"
    with pytest.raises(UserError, match="sees images of flow"):
        loaded.predict(np.zeros((3, 64, 64), np.uint8), 50, onset=0)
