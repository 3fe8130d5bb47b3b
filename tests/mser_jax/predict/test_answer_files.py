"""What predictions.csv, answers.json and the terminal say of a video."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from data_prep.common import files
from data_prep.common.errors import UserError
from data_prep.spotting.found import Course, Stretch
from helpers.made_answers import CLASSES, course, movement, video, window
from mser_jax.predict import answer_files
from mser_jax.predict.views import common as answer_view
from mser_jax.predict.views import text as answer_text


def table(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def found():
    """Two videos with movements, and one without."""
    spotted = movement(12, 17, 21, head=2, notes=("It is short, and dark.", "It is early."))
    marked = movement(5_003, 5_009, 5_011, "happiness", 200.0, 5_000, movement=None)
    marked = dataclasses.replace(marked, apex_estimated=False)
    return [
        video(answers=[spotted, movement(40, 44, 50, "others")], source='a "b", ü.mp4'),
        video(source="nothing.mp4"),
        video(9, [marked], 5_000, course=None, stretches=(), fps=200.0, calibrated=True),
    ]


def test_every_movement_has_a_row(tmp_path):
    path, videos = tmp_path / "predictions.csv", found()
    answer_files.write_csv(path, videos)
    rows = table(path)
    pairs = [(one, answer) for one in videos for answer in one.answers]
    assert len(rows) == len(pairs) == 3
    for row, (one, answer) in zip(rows, pairs):
        assert row["video"] == one.source
        assert row["class"] == answer.label
        assert row["notes"] == " ".join(answer.notes)
        for mark, second in zip(("onset", "apex", "offset"), answer.times):
            assert int(row[mark]) == getattr(answer, mark)
            assert float(row[f"{mark}_s"]) == pytest.approx(second, abs=5.1e-5)
        assert float(row["confidence"]) == pytest.approx(answer.confidence, abs=5.1e-5)
        told = [float(row[f"probability_{name}"]) for name in CLASSES]
        assert told == pytest.approx([answer.probabilities[name] for name in CLASSES], abs=5.1e-5)
        for number, head in enumerate(answer.heads, 1):
            told = {name: float(row[f"head{number}_{name}"]) for name in CLASSES}
            assert told == pytest.approx(head, abs=5.1e-5)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    assert columns["head"] == ["2", "all", "all"]
    assert columns["movement_px"] == ["0.500", "0.500", ""]
    assert columns["apex_estimated"] == ["yes", "yes", "no"]
    assert columns["calibrated"] == ["no", "no", "yes"]
    assert not list(tmp_path.glob("*part*"))


def test_where_nothing_moves_there_is_a_header_alone(tmp_path):
    answer_files.write_csv(tmp_path / "predictions.csv", [video()])
    text = (tmp_path / "predictions.csv").read_text(encoding="utf-8")
    assert text.startswith("video,onset,")
    assert text.endswith("probability_others,notes\n")
    assert text.count("\n") == 1


def test_two_models_have_no_common_table(tmp_path):
    other = video(answers=[movement(1, 2, 3, classes=CLASSES[:2])], classes=CLASSES[:2])
    with pytest.raises(ValueError, match="several models"):
        answer_files.write_csv(tmp_path / "predictions.csv", [*found(), other])
    assert not list(tmp_path.iterdir())


def same(one, other):
    """Whether two results agree in every field, NaN being NaN."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=True)
    if dataclasses.is_dataclass(one):
        pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one)]
        return type(one) is type(other) and all(same(*pair) for pair in pairs)
    if isinstance(one, tuple):
        pairs = zip(one, other, strict=True)
        return isinstance(other, tuple) and all(same(*pair) for pair in pairs)
    return one == other and type(one) is type(other)


def test_json_brings_everything_back():
    rough = Course(
        np.array([3, 4, 9]),
        np.array([0.1, np.nan, 1 / 3], np.float32),
        np.array([np.inf, 2e-8, np.nan], np.float32),
    )
    corners = window(1 / 3, -2.5, 1e3 / 7)
    parts = (Stretch(0, 4, "face", corners, 2), Stretch(5, 6, "no face"), Stretch(7, 9, "unread"))
    videos = [*found(), video(course=rough, stretches=parts, notes=("ü", "b"))]
    for one in videos:
        text = json.dumps(answer_files.to_json(one), allow_nan=False)  # NaN is no JSON
        assert same(one, answer_files.from_json(json.loads(text)))
    changed = [dataclasses.replace(video(), frames=91), dataclasses.replace(video(), course=rough)]
    assert not any(same(video(), other) for other in changed)


def test_numbers_of_numpy_are_numbers():
    raw = {name: np.float32(1 / 3) for name in CLASSES}
    answer = movement(1, 2, 3, confidence=np.float32(0.5), probabilities=raw, heads=(raw,))
    back = answer_files.from_json(json.loads(json.dumps(answer_files.to_json(video(9, [answer])))))
    assert back.answers[0].confidence == 0.5
    assert back.answers[0].heads[0] == raw


@pytest.mark.parametrize("told", [3, None, [], {"source": ""}])
def test_what_is_no_answer_is_refused(told):
    with pytest.raises((KeyError, TypeError)):
        answer_files.from_json(told)
    damaged = answer_files.to_json(video(answers=[movement(1, 2, 3)])) | {"answers": [told]}
    with pytest.raises((KeyError, TypeError)):
        answer_files.from_json(damaged)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
def test_a_file_is_whole_or_as_it_was(tmp_path, error):
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    expected = UserError if error is OSError else error
    with pytest.raises(expected), files.atomic_file(path) as part:  # noqa: PT012
        part.write_text("half", encoding="utf-8")
        raise error
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def long_words():
    """As many things as the terminal could be told of."""
    classes = ("a" * 70, "repression")
    answers = [
        movement(at, at + 4, at + 9, classes[at % 2], classes=classes, notes=("It is " * 30,))
        for at in range(200_000, 200_600, 10)
    ]
    kinds = ("face", "no face", "face", "face", "unread")
    parts = [Stretch(at * 9, at * 9 + 8, kinds[at % 5], None) for at in range(99)]
    return video(
        *(10**7, answers),
        classes=classes,
        course=None,
        stretches=tuple(parts),
        source="/home/" + "very-long" * 30 + ".mp4",
        notes=("A word of the video. " * 9, "x" * 200),
    )


def test_no_line_is_wider_than_a_terminal():
    for one in (*found(), long_words()):
        lines = answer_text.text_table(one).splitlines()
        assert max(map(len, lines)) <= 79


def test_the_terminal_is_told_what_was_found():
    text = answer_text.text_table(found()[0])
    (row,) = (line for line in text.splitlines() if "12-17-21" in line)
    assert row.split() == ["1", "0:00.57", "12-17-21", "surprise", "62%", "0.50", "px"]
    assert "not calibrated" in text
    assert "Movement 1: It is early." in text
    assert answer_view.NO_MOVEMENT not in text
    assert "calibrated" not in answer_text.text_table(found()[2])
    assert answer_view.NO_MOVEMENT in answer_text.text_table(video())


def test_the_terminal_is_told_of_faces_cuts_and_repeated_notes():
    parts = (
        *(Stretch(0, 29, "face"), Stretch(30, 44, "no face"), Stretch(45, 59, "face")),
        *(Stretch(60, 67, "face"), Stretch(68, 74, "face", cut=True), Stretch(75, 89, "unread")),
    )
    answers = [movement(at, at + 2, at + 4, notes=("It is dark.",)) for at in (3, 50)]
    told = answer_text.text_table(video(answers=answers, stretches=parts, notes=("All is dim.",)))
    lines = told.splitlines()
    assert "No face, 0.5 s in all: frames 30-44 (from 0:01.00)." in lines
    assert "Frames that cannot be decoded, 0.5 s in all: frames 75-89 (from 0:02.50)." in lines
    assert "Cuts, across which no movement is followed: at frame 68 (0:02.27)." in lines
    assert "The face has moved, and is cropped anew: at frame 60 (0:02.00)." in lines
    assert "Movements 1, 2: It is dark." in lines
    assert "All is dim." in lines


@pytest.mark.parametrize(
    ("seconds", "digits", "told"),
    [(0, 2, "0:00.00"), (59.996, 2, "1:00.00"), (3599.4, 0, "59:59"), (7265.25, 1, "2:01:05.2")],
)
def test_a_time_is_told_as_clocks_do(seconds, digits, told):
    assert answer_view.format_time(seconds, digits) == told


def test_blanks_are_told_apart():
    parts = (Stretch(0, 49, "face"), Stretch(50, 59, "no face"), Stretch(60, 89, "face"))
    seen = course(90, skip=[*range(8), *range(48, 62), *range(80, 90)])
    blanks = answer_view.missing_spans(video(course=seen, stretches=parts))
    assert blanks == {"no face": [(50, 59)], "not measured": [(0, 7), (48, 49), (60, 61), (80, 89)]}
    assert answer_view.missing_spans(video(course=None, stretches=())) == {}
    assert answer_view.missing_spans(video(course=course(0)))["not measured"] == [(0, 89)]


def test_a_course_of_every_second_frame_has_no_blanks_between():
    seen = course(90, skip=range(1, 90, 2))
    assert answer_view.missing_spans(video(course=seen)) == {}
    _, movements, _ = answer_view.downsample(seen, 1000)
    assert np.isfinite(movements).all()


def test_a_long_course_keeps_its_peaks_and_its_holes():
    seen = course(200_000, first=70, peaks=[90_123], skip=range(100_000, 110_000))
    frame, movements, threshold = answer_view.downsample(seen, 500)
    assert len(frame) == len(movements) == len(threshold) <= 6 * 500
    assert np.nanmax(movements) == np.float32(0.5)
    assert frame[np.nanargmax(movements)] == pytest.approx(90_123, abs=400)
    assert np.nanmin(movements) == seen.movement.min()
    (hole,) = np.flatnonzero(np.isnan(movements))
    assert frame[hole] == pytest.approx(110_000, abs=400)
    assert (np.diff(frame) >= 0).all()
    assert [len(part) for part in answer_view.downsample(course(0), 500)] == [0, 0, 0]
