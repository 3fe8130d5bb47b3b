"""Readers on small trees in the layout of the releases, and what they say when files lack."""

import pickle
import re

import numpy as np
import openpyxl
import pytest
from ml_collections import ConfigDict

from data_prep import datasets
from data_prep.cv import cv2
from data_prep.datasets import base
from data_prep.datasets.casme2.reader import Casme2
from data_prep.datasets.samm.reader import Samm
from data_prep.datasets.sheet import frame, read_sheet
from data_prep.datasets.smic.reader import Smic
from data_prep.errors import UserError

SAMM_HEADER = (
    "Subject",
    "Filename",
    "Inducement Code",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Duration",
    "Micro",
    "Action Units",
    "Estimated Emotion",
    "Objective Classes",
    "Notes",
)
CASME2_HEADER = (
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
)


def draw(folder, names, shape=(6, 8)):
    """Frames of which the first pixel tells the position in `names`."""
    folder.mkdir(parents=True, exist_ok=True)
    for position, name in enumerate(names):
        image = np.full(shape, 7, np.uint8)
        image[0, 0] = position
        cv2.imwrite(str(folder / name), image)


def positions(clip):
    """The first pixels of the frames, as `draw` made them."""
    return [int(frame[0, 0]) for frame in clip.frames]


def sheet(path, header, rows, above=0):
    book = openpyxl.Workbook()
    page = book.worksheets[0]
    for line in range(above):
        page.append([f"Explanation {line}"])
    page.append(header)
    for row in rows:
        page.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def samm_row(subject, clip, onset, apex, offset, emotion):
    return (subject, clip, "x", onset, apex, offset, 5, "Micro", "4", emotion, 2, "")


def casme2_row(subject, clip, onset, apex, offset, emotion):
    return (subject, clip, None, onset, apex, offset, None, "4", emotion)


@pytest.fixture
def samm(tmp_path):
    for subject, clip, first in (("006", "006_1_2", 98), ("011", "011_3_1", 1), ("011", "e", 1)):
        names = [f"{subject}_{number:05d}.png" for number in range(first, first + 6)]
        draw(tmp_path / "SAMM" / subject / clip, names)
    rows = [
        samm_row("006", "006_1_2", 98, 100, 103, "Anger"),
        samm_row(11.0, "011_3_1", 1, "/", 5, "Others"),  # a spreadsheet made '011' a number
        samm_row("006", "006_1_2", 98, 100, 103, "Anger"),
        samm_row("011", "e", 1, 2, 4, "Bored"),
        samm_row("011", "gone", 1, 2, 4, "Happiness"),
        samm_row("011", "unmarked", "?", 2, 4, "Surprise"),
    ]
    sheet(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", SAMM_HEADER, rows, above=13)
    return tmp_path


@pytest.fixture
def casme2(tmp_path):
    for release, prefix in (("Cropped", "reg_img"), ("CASME2_RAW_selected", "img")):
        for subject in ("sub01", "sub02"):
            names = [f"{prefix}{number}.png" for number in (9, 10, 11, 12)]
            draw(tmp_path / release / subject / "EP02_01f", names)
    rows = [
        casme2_row("01", "EP02_01f", 9, 10, 12, "happiness"),
        casme2_row(2, "EP02_01f", 9, "/", 11, "repression"),  # the same clip name, another subject
        casme2_row("02", "EP03_01", 9, 10, 11, "fear"),
        casme2_row("02", "EP03_02", 9, 10, 11, "sadness"),
        casme2_row("02", "EP03_03", 9, 10, 11, "fear"),
    ]
    sheet(tmp_path / "CASME2-coding-20140508.xlsx", CASME2_HEADER, rows)
    return tmp_path


@pytest.fixture
def smic(tmp_path):
    for subject, clip, first in (
        ("s01", "negative/s1_ne_01", 99998),
        ("s3", "surprise/s3_sur_02", 5),
    ):
        names = [f"image{number}.bmp" for number in range(first, first + 4)]
        for camera in ("HS", "NIR"):
            draw(tmp_path / "SMIC" / camera / subject / "micro" / clip, names)
    draw(tmp_path / "SMIC" / "HS" / "s01" / "non_micro" / "s1_non_01", ["image1.bmp", "image2.bmp"])
    return tmp_path


def test_samm_reads_ids_as_text_marks_by_number_and_counts_what_it_drops(samm):
    source = Samm(samm)
    entries = source.entries()
    assert [entry.name for entry in entries] == [
        "samm/006/006_1_2",
        "samm/011/011_3_1",
        "samm/011/gone",
        "samm/011/unmarked",
    ]
    assert [entry.label for entry in entries] == ["negative", "other", "positive", "surprise"]
    assert base.dropped(source) == {
        "the same row stands twice": 1,
        "emotion 'Bored' is outside the classes in use": 1,
    }
    clip = source.load(entries[0])
    assert clip.frames[0].shape == (6, 8)
    assert positions(clip) == [0, 1, 2, 3, 4, 5]  # 98, 99, 100, ...
    assert (clip.first, clip.notes) == (98, ())
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (0, 2, 5, 200.0)
    assert (clip.subject, clip.emotion, clip.name) == ("006", "Anger", "samm/006/006_1_2")
    assert source.load(entries[1]).apex is None


def test_frame_that_is_a_link_to_nowhere_is_that_clip_s_error(samm):
    (frame,) = samm.rglob("006_00099.png")
    frame.unlink()
    frame.symlink_to("/nowhere/006_00099.png")
    first, *others = (source := Samm(samm)).entries()
    assert others
    with pytest.raises(UserError, match=r"006_00099\.png"):
        source.load(first).frames[1]


def test_clip_of_the_sheet_without_a_folder_or_marks_is_that_clip_s_error(samm):
    source = Samm(samm)
    gone, unmarked = source.entries()[2:]
    with pytest.raises(UserError, match=r"011/gone: the clip's folder is absent"):
        source.load(gone)
    with pytest.raises(UserError, match=r"011/unmarked: the sheet has onset None"):
        source.load(unmarked)


def test_casme2_prefers_raw_frames_and_tells_equal_clip_names_apart(casme2):
    source = Casme2(casme2)
    entries = source.entries()
    assert [entry.name for entry in entries] == ["casme2/sub01/EP02_01f", "casme2/sub02/EP02_01f"]
    assert [entry.label for entry in entries] == ["positive", "other"]
    assert {entry.row.folder.parts[-3] for entry in entries} == {"CASME2_RAW_selected"}
    assert base.dropped(source) == {
        "emotion 'fear' is outside the classes in use": 2,
        "emotion 'sadness' is outside the classes in use": 1,
    }
    clip = source.load(entries[1])
    assert (clip.onset, clip.apex, clip.offset) == (0, None, 2)
    assert positions(clip) == [0, 1, 2, 3]  # 9, 10, 11, 12: numeric order


def test_smic_reads_the_hs_camera_only_and_marks_no_apex(smic):
    source = Smic(smic)
    entries = source.entries()
    assert [entry.name for entry in entries] == ["smic/s01/s1_ne_01", "smic/s3/s3_sur_02"]
    assert [entry.label for entry in entries] == ["negative", "surprise"]
    assert all("HS" in entry.row.folder.parts for entry in entries)
    clip = source.load(entries[0])
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (0, None, 3, 100.0)
    assert positions(clip) == [0, 1, 2, 3]  # 99998, 99999, 100000, 100001
    assert Smic(smic / "SMIC" / "HS").entries()[0].name == entries[0].name


def test_two_expressions_in_one_clip_are_named_by_their_onset(tmp_path):
    draw(tmp_path / "006" / "a", [f"006_{number}.png" for number in range(20)])
    rows = [samm_row("006", "a", 1, 2, 4, "Fear"), samm_row("006", "a", 8, 9, 12, "Surprise")]
    sheet(tmp_path / "SAMM_Micro_FACS_Codes_v2.xlsx", SAMM_HEADER, rows)
    assert [entry.name for entry in Samm(tmp_path).entries()] == ["samm/006/a@1", "samm/006/a@8"]


def test_sources_and_entries_travel_to_other_processes(samm):
    source = Samm(samm)
    entry = source.entries()[0]
    copied_source, copied_entry = pickle.loads(pickle.dumps((source, entry)))
    clip = copied_source.load(copied_entry)
    assert positions(clip) == positions(source.load(entry))
    assert positions(pickle.loads(pickle.dumps(clip))) == positions(clip)


def test_key_follows_frames_and_annotation(casme2):
    before = [entry.key for entry in Casme2(casme2).entries()]
    assert before == [entry.key for entry in Casme2(casme2).entries()]
    draw(casme2 / "CASME2_RAW_selected" / "sub01" / "EP02_01f", ["img10.png"], shape=(6, 9))
    rows = [
        casme2_row("01", "EP02_01f", 9, 10, 12, "happiness"),
        casme2_row("02", "EP02_01f", 9, "/", 12, "repression"),
    ]
    sheet(casme2 / "CASME2-coding-20140508.xlsx", CASME2_HEADER, rows)
    after = [entry.key for entry in Casme2(casme2).entries()]
    assert before[0] != after[0]  # its frame
    assert before[1] != after[1]  # its offset


@pytest.mark.parametrize(
    ("reader", "owner", "expected"),
    [
        (Smic, "University of Oulu", "micro/"),
        (Samm, "Manchester Metropolitan University", "SAMM_Micro_FACS_Codes_v2.xlsx"),
        (Casme2, "Chinese Academy of Sciences", "CASME2_RAW_selected/"),
    ],
)
@pytest.mark.parametrize("case", ["unset", "absent", "empty"])
def test_missing_database_says_whom_to_ask_what_is_expected_and_what_to_set(
    tmp_path, reader, owner, expected, case
):
    folder = {"unset": "", "absent": tmp_path / "nowhere", "empty": tmp_path}[case]
    with pytest.raises(UserError) as caught:
        reader(folder).entries()
    told = re.sub(r"\s+", " ", str(caught.value))
    assert owner in told
    assert expected in told
    assert f"--config.data.manual_dir=/path/to/{reader.name.upper()}" in told
    if case != "unset":
        assert str(folder) in told


def test_sheet_without_frames_and_frames_without_sheet_are_told(samm):
    (samm / "SAMM").rename(samm.parent / "moved away")
    with pytest.raises(UserError, match="no folder of the 6 clips"):
        Samm(samm).entries()
    (samm / "SAMM_Micro_FACS_Codes_v2.xlsx").unlink()
    with pytest.raises(UserError, match="no sheet SAMM_Micro_FACS_Codes"):
        Samm(samm).entries()


def test_unreadable_sheet_is_named(samm):
    path = samm / "SAMM_Micro_FACS_Codes_v2.xlsx"
    path.write_bytes(b"not a sheet")
    with pytest.raises(UserError, match=rf"{path.name}: not a readable"):
        Samm(samm).entries()


def test_sheet_with_other_columns_is_named(tmp_path):
    sheet(tmp_path / "other.xlsx", ("Name", "Subject"), [("a", "b")])
    with pytest.raises(
        UserError, match=r"other\.xlsx: no row holds the column names subject, onset"
    ):
        read_sheet(tmp_path / "other.xlsx", ("subject", "onset"))


@pytest.mark.parametrize(
    ("cell", "number"),
    [("46", 46), ("46.0", 46), ("/", None), ("", None), ("-1", None), ("0", None), ("nan", None)],
)
def test_frame_cells(cell, number):
    assert frame(cell) == number


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ((98, 97, 103), "not in this order"),
        ((103, None, 98), "not in this order"),
        ((98, 100, 105), "2 of the frames 98 to 105 are absent, first 104"),
    ],
)
def test_impossible_marks_are_refused(samm, marks, message):
    onset, apex, offset = marks
    rows = [samm_row("006", "006_1_2", onset, apex, offset, "Anger")]
    sheet(samm / "SAMM_Micro_FACS_Codes_v2.xlsx", SAMM_HEADER, rows)
    source = Samm(samm)
    with pytest.raises(UserError, match=message):
        source.load(source.entries()[0])


def test_frames_are_read_after_the_clip_is_loaded(samm):
    source = Samm(samm)
    entry = source.entries()[0]
    broken = entry.row.folder / "006_00100.png"
    broken.write_bytes(b"no picture")
    clip = source.load(entry)
    with pytest.raises(UserError, match=rf"{broken.name}: not a readable picture"):
        positions(clip)


def test_landmarks_come_from_a_file_a_clip(samm, tmp_path):
    folder = tmp_path / "points"
    (folder / "006").mkdir(parents=True)
    path = folder / "006" / "006_1_2.csv"
    points = np.random.default_rng(0).random((68, 2)).astype(np.float32)
    np.savetxt(path, points, delimiter=",")
    source = Samm(samm, folder)
    entries = source.entries()
    landmarks = source.load(entries[0]).landmarks
    assert landmarks is not None
    np.testing.assert_allclose(landmarks, points, rtol=1e-5)
    with pytest.raises(UserError, match=r"011_3_1\.csv: no landmarks can be read"):
        source.load(entries[1])  # not silently by dlib
    path.write_text(path.read_text() + "\n")
    again = source.entries()
    assert again[0].key != entries[0].key
    assert again[1].key == entries[1].key
    with pytest.raises(UserError, match=r"config\.data\.landmarks_dir"):
        Samm(samm, tmp_path / "absent")


def test_registry_knows_its_names_and_suggests(samm):
    def config(name):
        data = {"dataset": name, "manual_dir": str(samm), "landmarks_dir": ""}
        return ConfigDict({"data": data})

    assert datasets.source(config("samm")).name == "samm"
    with pytest.raises(UserError, match="Did you mean 'samm'"):
        datasets.source(config("sam"))


@pytest.mark.parametrize("reader", [Smic, Samm, Casme2])
def test_classes_are_among_the_class_names(reader):
    assert set(reader.classes.values()) == set(reader.class_names)
