"""From a video to the folder of its answers; the network's weights are made up."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

from data_prep import config
from data_prep.common import folders
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.config import margin
from data_prep.pipeline import record
from data_prep.pipeline.video_source import MarkedVideo
from data_prep.spotting.watcher import Watcher
from data_prep.stages import face
from data_prep.synthetic.clips import Spec, SyntheticSource
from data_prep.synthetic.long_video import LongVideo
from helpers import made_run
from mser_jax import export, load
from mser_jax.predict import __main__, answer_files, inputs, session
from mser_jax.predict import video as asking
from mser_jax.predict.answers import VideoAnswer

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
    assert __main__.main([str(model), str(video), f"--out={out}", f"--landmarks={points}"]) == 0
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
    for planted in drawn.expressions:
        assert min(abs(planted.apex - apex) for apex in apexes) < 0.1
    assert len(found) <= len(drawn.expressions) + 2
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
    assert __main__.main([*arguments, f"--landmarks={done.parent.parent / 'points.csv'}"]) == 0
    assert f"Reused {done}" in capsys.readouterr().out
    assert (done / "timeline.png").stat().st_mtime_ns == before


def test_a_marked_movement_is_one_row(tmp_path, model, video, place, capsys):
    arguments = [str(model), str(video), f"--out={tmp_path}", f"--landmarks={place / 'points.csv'}"]
    assert __main__.main([*arguments, "--onset=60", "--offset=85", "--film"]) == 0
    (row,) = rows(tmp_path)
    place = tmp_path / "face-onset60-offset85"
    assert (row["onset"], row["offset"], row["movement_px"]) == ("60", "85", "")
    assert 60 < int(row["apex"]) <= 85
    assert row["apex_estimated"] == "yes"
    assert float(row["onset_s"]) == 60 / FPS
    film = cv2.VideoCapture(str(place / "overlay.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == (85 + FPS) - (60 - FPS) + 1
    assert __main__.main([*arguments, "--onset=85", "--offset=60"]) == 2
    assert "Fix: correct --onset" in capsys.readouterr().err


def test_an_interrupted_video_goes_on_and_ends_alike(
    tmp_path, model, video, place, done, monkeypatch
):
    wish = asking.Request(MarkedVideo(video, landmarks=place / "points.csv"))
    loaded, seen = load(model), []

    def stopped(items, total, title):
        for number, *rest in items:
            if number == 350:
                raise KeyboardInterrupt
            yield number, *rest

    with pytest.raises(KeyboardInterrupt):
        asking.answer_video(loaded, wish, tmp_path / "face", stopped)
    assert not (tmp_path / "face").exists()
    kept = json.loads((tmp_path / ".face.unfinished" / "answers.json").read_text())
    assert kept["settled"] > 150
    assert kept["answer"]["answers"]

    def counted(items, total, title):
        for item in items:
            seen.append(item[0])
            yield item

    monkeypatch.setattr(session, "REWATCH_SECONDS", 1.0)
    again, reused = asking.answer_video(loaded, wish, tmp_path / "face", counted)
    assert not reused
    assert seen[0] > 100
    whole = answer_files.from_json(json.loads((done / "answers.json").read_text())["answer"])
    assert [each.apex for each in again.answers] == [each.apex for each in whole.answers]
    assert again.frames == whole.frames
    assert again.notes == whole.notes
    kinds = [[(s.first, s.last, s.kind) for s in each.stretches] for each in (again, whole)]
    assert kinds[0] == kinds[1]
    assert again.course
    assert whole.course
    np.testing.assert_array_equal(again.course.frame, whole.course.frame)
    assert not (tmp_path / ".face.unfinished").exists()


def test_what_is_found_when_the_video_ends_is_not_lost(
    tmp_path, model, video, place, drawn, monkeypatch
):
    wish = asking.Request(MarkedVideo(video, landmarks=place / "points.csv"))
    loaded, last = load(model), round(drawn.expressions[-1].offset * FPS) + 4
    ended = []

    def short(items, total, title):
        yield from (item for item in items if item[0] <= last)
        ended.append(True)

    def interrupted(each, first):
        if ended:
            raise KeyboardInterrupt
        return classify(each, first)

    whole, _ = asking.answer_video(loaded, wish, tmp_path / "whole", short)
    classify = loaded.classify
    ended.clear()
    monkeypatch.setattr(loaded, "classify", interrupted)
    with pytest.raises(KeyboardInterrupt):
        asking.answer_video(loaded, wish, tmp_path / "face", short)
    monkeypatch.undo()
    again, _ = asking.answer_video(loaded, wish, tmp_path / "face", short)
    assert [each.apex for each in again.answers] == [each.apex for each in whole.answers]
    assert whole.answers[-1].apex == pytest.approx(drawn.expressions[-1].apex * FPS, abs=5)


def test_a_film_is_added_without_watching_again(tmp_path, done, model, video, place):
    shutil.copytree(done, tmp_path / "face")
    wish = asking.Request(MarkedVideo(video, landmarks=place / "points.csv"), film=True)
    loaded = load(model)
    asking.answer_video(loaded, wish, tmp_path / "face", never)
    film = cv2.VideoCapture(str(tmp_path / "face" / "overlay.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == SECONDS * FPS
    _, reused = asking.answer_video(loaded, wish, tmp_path / "face", never)
    assert reused
    for name, digest in folders.read_checksums(tmp_path / "face").items():
        folders.verify_checksum(tmp_path / "face" / name, digest)


def never(items, total, title):
    raise AssertionError("the video was watched again")


def test_pages_are_drawn_when_they_are_wanted_and_stay_when_not(
    tmp_path, done, model, video, place, monkeypatch
):
    drawn = []
    monkeypatch.setattr(
        "mser_jax.predict.explain.movement.write",
        lambda path, *_, **wish: drawn.append(wish["faces"]) or path.write_text("page"),
    )
    shutil.copytree(done, tmp_path / "face")
    loaded, plain_wish = (
        load(model),
        asking.Request(MarkedVideo(video, landmarks=place / "points.csv")),
    )
    wish = dataclasses.replace(plain_wish, reasons=True)
    found, reused = asking.answer_video(loaded, wish, tmp_path / "face", plain)
    names = {asking.page_name(each) for each in found.answers}
    assert not reused
    assert {page.name for page in (tmp_path / "face").glob("reason-*.html")} == names
    assert drawn == [True] * len(found.answers)
    for other in (wish, plain_wish):  # those that are there do for both
        assert asking.answer_video(loaded, other, tmp_path / "face", never)[1]
    faceless = dataclasses.replace(wish, faces=False)
    assert not asking.answer_video(loaded, faceless, tmp_path / "face", plain)[1]
    assert set(drawn[len(names) :]) == {False}


def test_what_is_watched_is_not_lost_while_a_film_is_drawn(
    tmp_path, model, video, place, monkeypatch
):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("mser_jax.predict.views.film.write", interrupted)
    wish = asking.Request(MarkedVideo(video, landmarks=place / "points.csv"), film=True)
    with pytest.raises(KeyboardInterrupt):
        asking.answer_video(load(model), wish, tmp_path / "face", plain)
    kept = json.loads((tmp_path / ".face.unfinished" / "answers.json").read_text())
    assert kept["settled"] == SECONDS * FPS - 1


def test_a_file_that_is_gone_is_made_again(tmp_path, done, model, video, place):
    shutil.copytree(done, tmp_path / "face")
    (tmp_path / "face" / "timeline.png").unlink()
    wish = asking.Request(MarkedVideo(video, landmarks=place / "points.csv"))
    _, reused = asking.answer_video(load(model), wish, tmp_path / "face", plain)
    assert not reused
    assert (tmp_path / "face" / "timeline.png").is_file()


def test_what_is_classified_is_made_as_the_training_makes_it(model):
    source = SyntheticSource(Spec(0, 1, 1, 96, 50.0, (2.0, 3.0)))
    (entry,) = source.entries()
    loaded = load(model)
    loaded.recipe = made_run.small().prep.to_dict()  # with the magnification
    made, frames = record.key_frames(source, loaded.recipe, entry)
    wanted = record.with_flow(made, frames, loaded.recipe)
    clip = source.load(entry)
    handed = inputs.marked_clip(
        np.stack([*clip.frames]),
        clip.fps,
        clip.onset,
        clip.apex,
        clip.offset,
        clip.landmarks,
        config.context_seconds(loaded.recipe),
    )
    found = loaded.classify(handed).record
    for name in ("flow", "frames", "positions", "apex_index"):
        np.testing.assert_array_equal(found[name], wanted[name])
    assert wanted["flow"].any()


def test_what_is_spotted_is_cropped_as_the_training_crops_it(model, drawn):
    recipe = load(model).recipe
    watcher = Watcher(recipe, FPS, landmarks=drawn.landmarks)
    frames = [*drawn]
    spotted = [each for frame in frames for each in watcher.update(frame)]
    clip = spotted[0].clip
    raw = frames[clip.first : clip.first + len(clip.frames)]
    whole = dataclasses.replace(clip, frames=np.stack(raw), landmarks=drawn.landmarks)
    sizes = {"size": recipe["size"], "margin": margin(recipe["size"])}
    np.testing.assert_array_equal(face.crop(whole, **sizes, **recipe["face"]).frames, clip.frames)


def test_a_folder_whose_first_number_is_not_0_has_its_own_times(tmp_path, model, drawn, place):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, frame in enumerate([*drawn][:200]):
        cv2.imwrite(str(folder / f"img{1000 + number}.png"), frame[..., ::-1])
    points = place / "points.csv"
    out = tmp_path / "out"
    arguments = [str(model), str(folder), f"--out={out}", f"--landmarks={points}", "--fps=50"]
    assert __main__.main(arguments) == 0
    found = rows(out)
    assert found
    for row in found:
        assert float(row["apex_s"]) == pytest.approx((int(row["apex"]) - 1000) / FPS)


def test_other_wishes_do_not_reuse(done, model, video, place):
    wish = asking.Request(MarkedVideo(video, landmarks=place / "points.csv"))
    digest = load(model).digest
    assert wish.key(digest) == json.loads((done / "answers.json").read_text())["asked"]
    others = (
        dataclasses.replace(wish.video, fps=49.0),
        dataclasses.replace(wish.video, onset=3),
        dataclasses.replace(wish.video, landmarks=None),
    )
    for other in others:
        assert asking.Request(other).key(digest) != wish.key(digest)
    assert wish.key("another model") != wish.key(digest)


def test_python_and_the_command_cut_a_marked_movement_alike(tmp_path, model, video, drawn):
    loaded = load(model)
    loaded.recipe = made_run.small().prep.to_dict()  # with the magnification, and what it wants
    np.savetxt(tmp_path / "points.csv", drawn.landmarks, delimiter=",")
    marked = MarkedVideo(video, onset=200, offset=225, landmarks=tmp_path / "points.csv")
    (one,) = asking.answer_video(loaded, asking.Request(marked), tmp_path / "face", plain)[
        0
    ].answers
    frames = np.stack([*decoded(video)])
    (other,) = loaded.predict(
        frames, FPS, onset=200, offset=225, landmarks=drawn.landmarks.astype(np.float32)
    ).answers
    assert (one.onset, one.apex, one.offset) == (other.onset, other.apex, other.offset)
    for ours, theirs in zip(one.heads, other.heads):
        assert ours == pytest.approx(theirs, abs=1e-6)


def test_after_a_mistake_nothing_is_left(tmp_path, model, video):
    out = tmp_path / "out"
    assert __main__.main([str(model), str(tmp_path / "none.mp4"), f"--out={out}"]) == 2
    assert __main__.main([str(model), str(video), "--onset=9", "--offset=3", f"--out={out}"]) == 2
    assert [file.name for file in out.iterdir()] == [folders.LOCK]


def test_of_several_videos_the_others_are_answered(tmp_path, model, video, capsys):
    broken, copy = tmp_path / "broken.avi", tmp_path / "copy.avi"
    broken.write_bytes(b"no video at all")
    shutil.copyfile(video, copy)
    out = tmp_path / "out"
    assert __main__.main([str(model), str(tmp_path / "*.avi"), f"--out={out}"]) == 2
    said = capsys.readouterr()
    assert "broken.avi: not a video that OpenCV can read" in said.err
    assert "1 of 2 videos have no answer" in said.err
    assert (out / "copy" / "predictions.csv").is_file()
    assert {row["video"] for row in rows(out)} <= {str(copy)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["MODEL", "none.mp4"], "none.mp4: there is no such video"),
        (["MODEL", "*.none"], "no video matches this pattern"),
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
    assert __main__.main([*arguments, f"--out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, model, video, place, capsys):
    (tmp_path / "face").mkdir()
    (tmp_path / "face" / "mine.txt").touch()
    points = place / "points.csv"
    assert (
        __main__.main([str(model), str(video), f"--out={tmp_path}", f"--landmarks={points}"]) == 2
    )
    assert "mine.txt" in capsys.readouterr().err
    assert (tmp_path / "face" / "mine.txt").exists()


def test_videos_of_one_name_get_folders_of_their_own(tmp_path):
    paths = [tmp_path / "a" / "face.mp4", tmp_path / "b" / "face.mp4", tmp_path / "c.mp4"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    out = tmp_path / "out"
    for order in (paths, paths[::-1]):
        places = __main__._answer_folders(order, out, ())
        assert [places[path].name for path in paths] == ["a-face", "b-face", "c"]
    marked = __main__._answer_folders(paths[:1], out, (60, None, 85))
    assert marked[paths[0]].name == "face-onset60-offset85"
    twin = tmp_path / "a" / "face.avi"
    twin.touch()
    places = __main__._answer_folders([paths[0], twin], out, ())
    assert [place.name for place in places.values()] == ["a-face.mp4", "a-face.avi"]
    # Another call, in which it is alone.
    kept = out / "face" / "answers.json"
    kept.parent.mkdir(parents=True)
    kept.write_text(json.dumps({"asked": {"path": str(paths[0].resolve())}}))
    assert __main__._answer_folders(paths[:1], out, ())[paths[0]].name == "face"
    assert __main__._answer_folders(paths[1:2], out, ())[paths[1]].name == "b-face"
    kept.parent.rename(out / ".face.unfinished")  # one that is not finished is not touched either
    assert __main__._answer_folders(paths[1:2], out, ())[paths[1]].name == "b-face"


def test_a_folder_stands_for_its_frames_or_its_videos(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/x.mp4", "b/y.MP4", "b/poster1.jpg", "c/z.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = __main__._expand_videos([str(tmp_path / "*")])
    assert [path.name for path in found] == ["a", "x.mp4", "y.MP4"]
    again = __main__._expand_videos(
        [str(tmp_path / "b"), str(tmp_path / "b" / ".." / "b" / "x.mp4")]
    )
    assert [path.name for path in again] == ["x.mp4", "y.MP4"]


@pytest.mark.parametrize(
    ("frames", "fps", "told"),
    [
        ("face.mp4", 50, "this is a path, but frames must be arrays"),
        ([], 50, "There are no frames"),
        ([np.zeros((8, 8, 4))], 50, r"Frame 0 has the shape \[8, 8, 4\]"),
        ([np.zeros(8)], 50, "Frame 0 has the shape"),
        ([np.zeros((64, 64), np.uint8), np.zeros((60, 64), np.uint8)], 50, "of one size"),
        ([np.zeros((8, 8), np.uint8)], 0, "fps is 0"),
        ([np.zeros((8, 8), np.uint8)], float("nan"), "fps is nan"),
        ([np.zeros((8, 8), np.uint8)], "25", "fps is '25'"),
        ([np.full((8, 8), np.nan)], 50, "holds NaN or infinity"),
        ([[["a"]]], 50, "Frame 0 holds <U1"),
        ([np.full((8, 8), 0.5)], 50, "Frame 0 holds 0..1"),
        ([np.zeros((0, 8))], 50, "Frame 0 has the shape"),
    ],
)
def test_what_are_no_frames_is_said(model, drawn, frames, fps, told):
    with pytest.raises(UserError, match=told):
        load(model).predict(frames, fps, landmarks=drawn.landmarks / 2)


@pytest.mark.parametrize(
    "marks", [{"onset": 99}, {"onset": -1}, {"offset": 10}, {"apex": 20}, {"onset": 1.5}]
)
def test_marks_that_cannot_be_are_said(model, drawn, marks):
    with pytest.raises(UserError, match=r"of 10 frames.*Fix"):
        load(model).predict(
            np.zeros((10, 64, 64), np.uint8), 50, landmarks=drawn.landmarks, **marks
        )


@pytest.mark.parametrize("kind", [np.int64, np.float64, np.float16])
def test_frames_of_any_type_of_numbers_do(model, drawn, kind):
    frames = np.stack([*drawn][60:90])
    wanted, found = (
        load(model).predict(each, FPS, onset=2, offset=27, landmarks=drawn.landmarks)
        for each in (frames, frames.astype(kind))
    )
    assert found.answers[0].probabilities == pytest.approx(
        wanted.answers[0].probabilities, abs=1e-4
    )


def test_grey_frames_give_what_coloured_ones_give(model, video, drawn):
    grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in decoded(video))
    found = load(model).predict(grey, FPS, landmarks=drawn.landmarks)
    coloured = load(model).predict(decoded(video), FPS, landmarks=drawn.landmarks)
    assert len(found.answers) >= len(drawn.expressions)
    assert [a.apex for a in found.answers] == [a.apex for a in coloured.answers]


def test_a_movement_that_cannot_be_classified_leaves_the_others(
    tmp_path, model, video, place, monkeypatch
):
    loaded = load(model)
    classify, calls = loaded.classify, []

    def failing(each, first):
        calls.append(each)
        if len(calls) == 1:
            raise UserError("the flow is not finite")
        return classify(each, first)

    monkeypatch.setattr(loaded, "classify", failing)
    wish = asking.Request(MarkedVideo(video, landmarks=place / "points.csv"))
    found, _ = asking.answer_video(loaded, wish, tmp_path / "face", plain)
    assert len(found.answers) == len(calls) - 1 > 0
    assert any("has no answer: the flow is not finite" in note for note in found.notes)


def test_a_network_for_images_refuses_videos(model):
    loaded = load(model)
    loaded.config.input.kind = "images"
    with pytest.raises(UserError, match="was trained on precomputed flow images"):
        loaded.predict(np.zeros((3, 64, 64), np.uint8), 50, onset=0)
