"""Readers on small trees in the layout of the releases, and what they say when files lack."""

import datetime
import re
import zipfile

import numpy as np
import openpyxl
import pytest
from ml_collections import ConfigDict

from data_prep.common.errors import UserError
from data_prep.datasets import registry
from data_prep.datasets.base.about import database_info
from data_prep.datasets.base.cells import parse_frame
from data_prep.datasets.base.search import files
from data_prep.datasets.casme2.reader import Casme2
from data_prep.datasets.samm.reader import Samm
from data_prep.datasets.smic.reader import Smic
from helpers.releases import CASME2_HEADER, SAMM_HEADER, casme2_row, draw, samm_row, sheet


def positions(clip):
    """The first pixels of the frames, as `draw` made them."""
    return [int(frame[0, 0]) for frame in clip.frames]


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


def test_samm_reads_subjects_as_text_and_marks_by_number(samm):
    source = Samm(samm)
    first, second = source.entries()
    assert (first.name, second.name) == ("samm/006/006_1_2", "samm/011/011_3_1")
    assert (first.label, second.label) == ("negative", "other")
    clip = source.load(first)
    assert clip.frames[0].shape == (6, 8)
    assert positions(clip) == [0, 1, 2, 3, 4, 5]  # 98, 99, 100, ...
    assert (clip.first, clip.notes) == (98, ())
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (0, 2, 5, 200.0)
    assert (clip.subject, clip.emotion, clip.name) == ("006", "Anger", "samm/006/006_1_2")
    assert source.load(second).apex is None


def test_everything_that_is_left_out_is_told_with_its_folder_in_the_release(samm):
    (samm / "SAMM" / "030" / "030_1_1").mkdir(parents=True)  # named by no row, and without frames
    draw(samm / "SAMM" / "031" / "031_2_2", ["031_1.png"])
    draw(samm / "SAMM" / "011" / "gone", ["011_1.png"])
    source = Samm(samm)
    source.entries()
    few = "1 numbered frames (.jpg, .jpeg, .png, .bmp, .tif, .tiff, .webp, .pgm, .ppm), at least "
    assert {(r.clip, r.field, r.was, r.reason) for r in source.listing.repairs} == {
        (
            "samm/006/006_1_2",
            "row",
            "Anger, onset 98, apex 100, offset 103",
            "the row occurs twice",
        ),
        ("samm/011/011_3_1", "apex", "/", "no apex is marked"),
        ("samm/011/e", "row", "", "emotion 'Bored' is outside the classes in use"),
        (
            "samm/011/gone",
            "row",
            "onset 1, apex 2, offset 4 in SAMM/011/gone",
            f"{few}2 are needed. Fix: unpack the release again, or number the frames.",
        ),
        ("samm/011/unmarked", "row", "line 20: ? and 4", "no frame number for onset or offset"),
        ("samm/031/031_2_2", "folder", "SAMM/031/031_2_2", "no row of the sheet names it"),
    }
    assert source.listing.clips == {"negative": 1, "other": 1}
    assert source.listing.facts["frames"] == "SAMM"
    assert "2 clips, where section 4.1 of the paper states 159" in source.listing.deviation


def test_frame_that_is_a_link_to_nowhere_is_that_clip_s_error(samm):
    (frame,) = samm.rglob("006_00099.png")
    frame.unlink()
    frame.symlink_to("/nowhere/006_00099.png")
    first, *others = (source := Samm(samm)).entries()
    assert others
    with pytest.raises(UserError, match=r"006_00099\.png"):
        source.load(first).frames[1]


def test_casme2_prefers_raw_frames_and_reads_them_in_numeric_order(casme2):
    source = Casme2(casme2)
    entries = source.entries()
    assert [entry.name for entry in entries] == ["casme2/sub01/EP02_01f", "casme2/sub02/EP02_01f"]
    assert [entry.label for entry in entries] == ["positive", "other"]
    assert source.listing.facts["frames"] == "CASME2_RAW_selected"
    clip = source.load(entries[1])
    assert (clip.onset, clip.apex, clip.offset) == (0, None, 2)
    assert positions(clip) == [0, 1, 2, 3]  # 9, 10, 11, 12


def test_smic_reads_the_hs_camera_only_and_marks_no_apex(smic):
    source = Smic(smic)
    entries = source.entries()
    assert [entry.name for entry in entries] == ["smic/s01/s1_ne_01", "smic/s03/s3_sur_02"]
    assert [entry.label for entry in entries] == ["negative", "surprise"]
    assert all("HS" in entry.row.folder.parts for entry in entries)
    clip = source.load(entries[0])
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (0, None, 3, 100.0)
    assert positions(clip) == [0, 1, 2, 3]  # 99998, 99999, 100000, 100001
    assert Smic(smic / "SMIC" / "HS").entries()[0].name == entries[0].name


def test_smic_does_not_take_raw_frames_for_cropped_ones(smic):
    with pytest.raises(UserError, match="no cropped folder HS"):
        Smic(smic / "SMIC" / "HS", frames="cropped").entries()


def test_hidden_folders_and_copies_are_no_subjects_and_no_clips(smic, casme2):
    negative = smic / "SMIC" / "HS" / "s01" / "micro" / "negative"
    draw(negative / ".@__thumb", ["image1.bmp", "image2.bmp"])
    assert len(Smic(smic).entries()) == 2
    raw = casme2 / "CASME2_RAW_selected"
    (raw / "sub02").rename(raw / "sub01 (2)")  # a copy of sub01, and none of sub02
    source = Casme2(casme2, frames="raw")
    assert [entry.name for entry in source.entries()] == ["casme2/sub01/EP02_01f"]
    assert {repair.was for repair in source.listing.repairs} >= {
        "CASME2_RAW_selected/sub02/EP02_01f",  # is absent
        "CASME2_RAW_selected/sub01 (2)/EP02_01f",  # no row names it
    }


def test_cells_that_are_merged_or_no_numbers_are_told(casme2):
    rows = [
        casme2_row("01 ", " EP02_01f ", "9", 10.0, 12, " Happiness "),
        casme2_row(None, "EP02_01f", 9, 10, 12, "disgust"),  # merged with the subject above
        casme2_row("02", "EP02_01f", datetime.datetime(2014, 5, 8), 10, 12, "disgust"),
        casme2_row("02", "EP02_01f", "=8+1", 10, 12, "disgust"),  # that no spreadsheet calculated
    ]
    sheet(casme2 / "CASME2-coding-20140508.xlsx", CASME2_HEADER, rows)
    source = Casme2(casme2)
    assert [(entry.name, entry.marks) for entry in source.entries()] == [
        ("casme2/sub01/EP02_01f", (9, 10, 12))
    ]
    number = "no frame number for onset or offset"
    assert [(repair.was, repair.reason) for repair in source.listing.repairs] == [
        ("line 3: 9 and 12", "no subject or no clip is named"),
        ("line 4: 2014-05-08 00:00:00 and 12", number),
        ("line 5:  and 12", number),
    ]


def test_folder_with_most_of_the_clips_is_taken(casme2):
    sample = casme2 / "A sample" / "sub02" / "EP02_01f"
    draw(sample, ["img9.png", "img10.png", "img11.png"])
    source = Casme2(casme2, frames="raw")
    assert len(source.entries()) == 2
    assert source.listing.facts["frames"] == "CASME2_RAW_selected"


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
    with pytest.raises(UserError, match="no folder of a clip in SAMM_Micro_FACS"):
        Samm(samm).entries()
    (samm / "SAMM_Micro_FACS_Codes_v2.xlsx").unlink()
    with pytest.raises(UserError, match=r"no sheet SAMM_.*there is no folder of frames either"):
        Samm(samm).entries()


@pytest.mark.parametrize("broken", ["other columns", "no sheet", "not a sheet"])
def test_faulty_sheet_is_named_and_so_are_the_frames_that_are_there(samm, broken):
    path = samm / "SAMM_Micro_FACS_Codes_v2.xlsx"
    path.unlink()
    said = "holds no sheet SAMM_Micro_FACS_Codes"
    if broken == "other columns":
        sheet(path, ("Name", "Subject"), [("a", "b")])
        said = "line 1 lacks Filename, Onset Frame, Apex Frame"
    if broken == "not a sheet":
        path.write_bytes(b"half a sheet")
        said = "not a readable .xlsx sheet"
    with pytest.raises(UserError) as caught:
        Samm(samm).entries()
    told = re.sub(r"\s+", " ", str(caught.value))
    assert said in told
    assert f"frames of 3 clips are in {samm / 'SAMM'}" in told


def test_member_of_a_workbook_that_is_damaged_is_told(samm):
    path = samm / "SAMM_Micro_FACS_Codes_v2.xlsx"
    with zipfile.ZipFile(path) as book:
        members = {name: book.read(name) for name in book.namelist()}
    page = "xl/worksheets/sheet1.xml"
    with zipfile.ZipFile(path, "w") as book:
        for name, content in members.items():
            book.writestr(name, content[: len(content) // 2] if name == page else content)
    with pytest.raises(UserError, match=r"v2\.xlsx: not a readable \.xlsx sheet"):
        Samm(samm).entries()


def test_first_page_that_holds_anything_is_read_whatever_size_it_states(samm):
    path = samm / "SAMM_Micro_FACS_Codes_v2.xlsx"
    book = openpyxl.load_workbook(path)
    book.create_sheet("empty", 0)
    book.save(path)
    assert len(Samm(samm).entries()) == 2
    with zipfile.ZipFile(path) as book:
        members = {name: book.read(name) for name in book.namelist()}
    with zipfile.ZipFile(path, "w") as book:
        for name, content in members.items():
            book.writestr(name, re.sub(rb'<dimension ref="[^"]*"', b'<dimension ref="A1"', content))
    assert len(Samm(samm).entries()) == 2


def test_sheet_is_named_by_its_name_or_its_path_and_an_old_one_comes_last(samm, tmp_path):
    path = samm / "SAMM_Micro_FACS_Codes_v2.xlsx"
    elsewhere = samm / "sheets [mine]" / "a [copy].xlsx"
    elsewhere.parent.mkdir()
    path.rename(elsewhere)
    for named in (elsewhere.name, str(elsewhere), f"{elsewhere.parent.name}/{elsewhere.name}"):
        assert len(Samm(samm, sheet=named).entries()) == 2
    with pytest.raises(UserError, match=r"holds no sheet another\.xlsx"):
        Samm(samm, sheet="another.xlsx").entries()
    for name in ("a_1.xls", "a_2.xlsx", "~$a_2.xlsx"):
        (tmp_path / name).touch()
    assert [path.name for path in files(tmp_path, "a_*")] == ["a_2.xlsx", "a_1.xls"]


@pytest.mark.parametrize(
    ("written", "name"),
    [("6", "006"), ("006", "006"), ("6.0", "006"), ("", ""), ("6 (2)", ""), ("p6-2", "")],
)
def test_subject_has_one_spelling(written, name):
    assert database_info("samm").subject_name(written) == name


@pytest.mark.parametrize(
    ("cell", "number"),
    [("46", 46), ("46.0", 46), ("/", None), ("", None), ("-1", None), ("0", 0), ("nan", None)],
)
def test_frame_cells(cell, number):
    assert parse_frame(cell) == number


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
        given = {"classes": "paper", "frames": "auto", "sheet": "", "corrections": True}
        where = {"dataset": name, "manual_dir": str(samm), "landmarks_dir": ""}
        return ConfigDict({"data": given | where})

    assert registry.source(config("samm")).name == "samm"
    assert len(registry.part_configs(config("samm"))) == 1
    with pytest.raises(UserError, match="Did you mean 'samm'"):
        registry.source(config("sam"))
