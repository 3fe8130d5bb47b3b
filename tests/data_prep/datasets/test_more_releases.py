"""CAS(ME)^3, MMEW, any folder and the composite; class maps and known errors of all databases."""

import csv
import dataclasses
import itertools
import pickle
from typing import Any

import numpy as np
import openpyxl
import pytest
from ml_collections import ConfigDict

from data_prep import config
from data_prep.common.cv import cv2
from data_prep.common.errors import UserError
from data_prep.datasets import registry
from data_prep.datasets.base.about import database_info
from data_prep.datasets.composite.reader import READERS
from data_prep.synthetic.clips import COLUMNS

DATABASES = ("smic", "samm", "casme2", "casme3", "mmew")
# MEGC 2019 has 145 of the 147 clips of CASME II in its classes.
LEFT_OUT_BY_THE_CHALLENGE = {("casme2", "megc2019", "negative"): 2}


def draw(folder, numbers, name="{}.png"):
    """Frames of which the first pixel tells the last digits of their number."""
    folder.mkdir(parents=True)
    for number in numbers:
        image = np.full((6, 8), 7, np.uint8)
        image[0, 0] = number % 250
        cv2.imwrite(str(folder / name.format(number)), image)


def table(path, header, rows):
    book = openpyxl.Workbook()
    for row in (header, *rows):
        book.worksheets[0].append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def configured(dataset, root, **changed):
    made = ConfigDict({"data": config.data(dataset)})
    made.data.update({"manual_dir": str(root), **changed})
    return made


def source(dataset, root, **changed) -> Any:
    return registry.source(configured(dataset, root, **changed))


def refusal(dataset, root, **changed):
    with pytest.raises(UserError) as caught:
        source(dataset, root, **changed).entries()
    return " ".join(str(caught.value).split())


def marks(clip):
    """The marked frames, by their pixels."""
    indices = (clip.onset, clip.apex, clip.offset)
    return tuple(None if i is None else int(clip.frames[i][0, 0]) for i in indices)


def told(read):
    """(clip, field) -> reason."""
    return {(repair.clip, repair.field): repair.reason for repair in read.listing.repairs}


# Class maps and known errors.


@pytest.mark.parametrize("name", DATABASES)
def test_an_emotion_is_in_one_class_of_a_map_and_in_the_release(name):
    released = set(itertools.chain(*database_info(name).emotions("emotion").values()))
    for chosen in database_info(name).classes:
        words = list(itertools.chain(*database_info(name).emotions(chosen).values()))
        assert len(words) == len(set(words))
        assert set(words) <= released
        assert all(word == word.lower() for word in words)


@pytest.mark.parametrize("name", ["samm", "casme2", "casme3"])
def test_stated_counts_are_the_sums_of_those_of_the_emotions(name):
    known = database_info(name)
    for chosen, classes in known.classes.items():
        assert known.counts[chosen]["source"]
        for each, words in classes.items():
            parts = (
                known.counts["emotion"][emotion]
                for emotion, spelled in known.classes["emotion"].items()
                if set(spelled) & set(words)
            )
            missing = LEFT_OUT_BY_THE_CHALLENGE.get((name, chosen, each), 0)
            assert sum(parts) - missing == known.counts[chosen][each]


def test_the_challenge_has_the_classes_that_it_states():
    counts = [database_info(name).counts["megc2019"] for name in READERS]
    classes = ("negative", "positive", "surprise")
    assert [sum(each[name] for each in counts) for name in classes] == [250, 109, 83]


@pytest.mark.parametrize("name", ["smic", "casme3", "mmew"])
def test_a_map_that_a_database_lacks_is_refused_with_those_it_has(name, tmp_path):
    message = refusal(name, tmp_path, classes="five")
    assert f"unknown classes of {name} (config.data.classes) 'five'" in message
    assert message.endswith("One of: paper, megc2019, emotion.")


@pytest.mark.parametrize("name", DATABASES)
def test_a_known_error_says_what_is_wrong_with_which_mark_and_who_says_so(name):
    for error in database_info(name).errors:
        assert error.field in ("onset", "apex", "offset")
        assert error.source
        assert bool(error.row) != bool(error.clip)
        if error.clip:
            assert int(error.stated) != int(error.right)
            assert error.subject == database_info(name).subject_name(error.subject)
        else:
            assert (error.field, error.row.isdigit()) == ("offset", True)


@pytest.mark.parametrize(
    ("onset", "stated", "offset"),
    [(41, 0, 91), (41, "/", 91), (41, 80, 80), (95, 0, None)],
)
@pytest.mark.parametrize("row", [60, 59])
def test_an_error_known_by_its_row_is_corrected_where_the_offset_cannot_be(
    tmp_path, row, onset, stated, offset
):
    draw(tmp_path / "sub01" / "a", range(40, 100))
    rows = [("01", f"absent {number}", 1, 2, 3, "disgust") for number in range(row)]
    columns = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion")
    last = ("01", "a", onset, 50, stated, "disgust")
    table(tmp_path / "CASME2-coding-20140508.xlsx", columns, [*rows, last])
    read = source("casme2", tmp_path)
    wanted = [offset] if offset and (row == 60 or stated == 80) else []
    assert [entry.marks.offset for entry in read.entries()] == wanted
    corrected = ("casme2/sub01/a", "offset") in told(read)
    assert corrected == (row == 60 and offset == 91)


# CAS(ME)^3.

CASME3_SHEET = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"


def casme3_sheet(root, *rows):
    columns = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")
    table(root / CASME3_SHEET, columns, [(*row[:5], "4", "VII", row[5]) for row in rows])


@pytest.fixture
def recordings(tmp_path):
    """Two expressions in a long recording whose folder has a capital letter."""
    draw(tmp_path / "part_A" / "spNO.3" / "J" / "color", range(8, 190), "{}.jpg")
    draw(tmp_path / "part_A" / "spNO.3" / "J" / "depth", range(8, 12))
    draw(tmp_path / "part_A" / "spNO.3" / "k" / "color", range(5), "{}.jpg")  # without expression
    casme3_sheet(
        tmp_path,
        ("spNO.3", "j", 100, 104, 110, "happy"),
        ("spNO.3", "j", 20, 20, 30, "Others"),
    )
    return tmp_path


def test_casme3_reads_the_seconds_around_each_expression_of_a_recording(recordings):
    read = source("casme3", recordings)
    first, second = read.entries()
    assert [first.name, second.name] == ["casme3/spNO.3/j@100", "casme3/spNO.3/j@20"]
    assert [first.label, second.label] == ["positive", "other"]
    clip = read.load(first)
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (60, 64, 70, 30.0)  # 2 s before
    assert (clip.first, len(clip.frames)) == (40, 131)
    clip = read.load(second)  # at its recording's begin, with the apex at the onset
    assert (clip.onset, clip.apex, clip.offset, clip.first) == (12, 12, 22, 8)
    at_onset = "equals the onset; used as stated"
    assert told(read) == {("casme3/spNO.3/j@20", "apex"): at_onset}


def test_expressions_of_one_clip_share_its_landmarks_or_have_their_own(recordings, tmp_path):
    folder = tmp_path / "points" / "spNO.3"
    folder.mkdir(parents=True)
    for name, value in (("j", 1), ("j@20", 2)):
        np.savetxt(folder / f"{name}.csv", np.full((68, 2), value), delimiter=",")
    read = source("casme3", recordings, landmarks_dir=str(tmp_path / "points"))
    assert [read.load(entry).landmarks[0, 0] for entry in read.entries()] == [1, 2]


def test_casme3_reads_clips_that_are_cut_out_as_it_reads_recordings(recordings, tmp_path):
    cut = tmp_path / "cut"
    clips = cut / "Part_A_ME_clip"
    draw(clips / "depth" / "spNo.3_j_100", range(100, 111))
    draw(clips / "frame" / "spNo.3_j_100", range(100, 111))
    draw(clips / "frame" / "spNo.3_J_20", range(20, 31))
    casme3_sheet(
        cut, ("spNO.3", "j", 100, 104, 110, "happy"), ("spNO.3", "J", 20, 20, 30, "others")
    )
    (recordings / CASME3_SHEET).rename(recordings / "part_A" / CASME3_SHEET)
    whole, part = source("casme3", recordings / "part_A"), source("casme3", cut)
    entries = part.entries()
    assert [entry.name for entry in entries] == [entry.name for entry in whole.entries()]
    assert {entry.row.folder.parent.name for entry in entries} == {"frame"}
    assert [marks(part.load(entry)) for entry in entries] == [(100, 104, 110), (20, 20, 30)]


WRONG = (("spNO.40", "e", 1812, 1824, 0, "fear"), ("spNO.40", "e", 2327, 2363, 0, "sad"))


@pytest.fixture
def wrong(tmp_path):
    frames = (1812, 1813, 1824, 1845, 2327, 2363, 2400, 2403, 2500)
    draw(tmp_path / "part_A" / "spNO.40" / "e" / "color", frames)
    casme3_sheet(tmp_path, *WRONG)
    return tmp_path


def test_known_errors_are_corrected_each_in_its_own_row(wrong):
    read = source("casme3", wrong)
    assert [entry.marks for entry in read.entries()] == [(1812, 1824, 1845), (2327, 2363, 2403)]
    assert all("tvaranka/meb" in repair.reason for repair in read.listing.repairs)
    assert [dataclasses.astuple(repair)[:4] for repair in read.listing.repairs] == [
        ("casme3/spNO.40/e@1812", "offset", "0", "1845"),
        ("casme3/spNO.40/e@2327", "offset", "0", "2403"),
    ]


def test_corrected_row_keeps_the_folder_and_gets_the_name_of_what_it_is(tmp_path):
    draw(tmp_path / "Part_A_ME_clip" / "frame" / "spNO.216_e_0", range(1, 27))
    draw(tmp_path / "Part_A_ME_clip" / "frame" / "spNO.1_a_5", range(5, 9))
    casme3_sheet(tmp_path, ("spNO.216", "e", 0, 0, 25, "others"))
    read = source("casme3", tmp_path)
    assert [(entry.name, entry.marks) for entry in read.entries()] == [
        ("casme3/spNO.216/e", (1, 1, 25))
    ]
    reason = "the authors' exception/casme3_partA_error_list_ZhouJu.xlsx"
    assert {(each.clip, each.field, each.now, each.reason) for each in read.listing.repairs} == {
        ("casme3/spNO.216/e", "onset", "1", reason),
        ("casme3/spNO.216/e", "apex", "1", reason),
        ("casme3/spNO.216/e", "apex", "1", "equals the onset; used as stated"),
        ("casme3/spNO.1/a_5", "folder", "left out", "no row of the sheet names it"),
    }


def test_recordings_that_are_nested_twice_and_deep_are_found(recordings, tmp_path):
    deep = tmp_path / "deep" / "part_A" / "data" / "part_A_split" / "part_A" / "spNO.3"
    deep.mkdir(parents=True)
    (recordings / "part_A" / "spNO.3").rename(deep / "spNO.3")
    (recordings / CASME3_SHEET).rename(tmp_path / "deep" / CASME3_SHEET)
    assert len(source("casme3", tmp_path / "deep").entries()) == 2


def test_known_errors_are_left_alone_where_the_sheet_has_something_else(wrong):
    casme3_sheet(wrong, (*WRONG[0][:4], 1824, "fear"), (*WRONG[1][:4], 2400, "sad"))
    read = source("casme3", wrong)
    assert [entry.marks.offset for entry in read.entries()] == [1824, 2400]
    assert not read.listing.repairs


def test_without_corrections_the_sheet_stands(wrong):
    read = source("casme3", wrong, corrections=False)
    assert read.entries() == []
    assert set(told(read).values()) == {"the onset is not before the offset"}


# MMEW.


@pytest.mark.parametrize("folder", ["Micro_Expression/disgust", "S13/disgust"])
def test_mmew_takes_the_subject_from_the_clip_in_both_layouts(folder, tmp_path):
    draw(tmp_path / folder / "S13-07-001", range(1, 9))
    draw(tmp_path / "Macro_Expression" / "S13" / "disgust", range(1, 3))
    header = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion")
    table(tmp_path / "MMEW_Micro_Exp.xlsx", header, [(1, "S13-07-001", 1, 5, 30, "disgust")])
    read = source("mmew", tmp_path)
    (entry,) = read.entries()
    assert (entry.name, entry.label) == ("mmew/S13/S13-07-001", "negative")
    clip = read.load(entry)
    assert (marks(clip), clip.fps) == ((1, 5, 8), 90.0)
    assert told(read) == {(entry.name, "offset"): "no such frame; the nearest is used"}


def test_mmew_never_mixes_raw_and_cropped_frames(tmp_path):
    for release in ("Micro_Expression", "micro_cropped"):
        draw(tmp_path / release / "disgust" / "S13-07-001", range(1, 9))
    header = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion")
    table(tmp_path / "MMEW_Micro_Exp.xlsx", header, [(1, "S13-07-001", 1, 5, 8, "disgust")])
    for frames, release in (("raw", "Micro_Expression"), ("cropped", "micro_cropped")):
        (entry,) = source("mmew", tmp_path, frames=frames).entries()
        assert release in entry.row.folder.parts


# Any folder.


@pytest.fixture
def clips(tmp_path):
    for name in ("a", "b"):
        draw(tmp_path / name, range(10, 20), "img{}.png")
    return tmp_path


def labels(folder, *rows, header=COLUMNS, name="labels.csv"):
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


GOOD = ("1", "ann", "happy", "11", "13", "18", "200", "a")
PLAIN = ("1", "bob", "sad", "", "", "", "29.97", "b")


def film(path, frames):
    fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    video = cv2.VideoWriter(str(path), fourcc, 25.0, (32, 32))
    for index in range(frames):
        video.write(np.full((32, 32, 3), 10 * index, np.uint8))
    video.release()


def test_folder_reads_pictures_with_and_without_marks(clips):
    labels(clips, PLAIN, GOOD)
    read = source("folder", clips)
    plain, good = read.entries()
    assert read.class_names == ("happy", "sad") == registry.class_names(configured("folder", clips))
    assert [plain.name, good.name] == ["folder/bob/1", "folder/ann/1"]
    clip = read.load(good)
    assert (marks(clip), clip.first, clip.fps, clip.label) == ((11, 13, 18), 10, 200.0, "happy")
    clip = read.load(plain)
    assert (marks(clip), clip.fps) == ((10, None, 19), 29.97)
    assert told(read) == {(plain.name, "apex"): "no apex is marked"}
    assert pickle.loads(pickle.dumps(read)).load(plain).first == 10


def test_folder_reads_videos_whose_first_frame_is_0(clips, monkeypatch):
    film(clips / "c.avi", 9)
    monkeypatch.chdir(clips)
    labels(
        clips,
        GOOD,
        ("2", "ann", "sad", "2", "4", "20", "", "c.avi"),
        ("3", "ann", "sad", "", "", "", "500", clips / "c.avi"),
        ("4", "ann", "sad", "", "", "", "", "none.avi"),
    )
    read = source("folder", ".")  # beside which one of the paths is absolute
    _, marked, whole = read.entries()
    clip = read.load(marked)
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (2, 4, 8, 25.0)
    assert clip.frames[4].mean() == pytest.approx(40, abs=3)
    clip = read.load(whole)
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (0, None, 8, 500.0)
    assert told(read)[marked.name, "offset"] == "no such frame; the nearest is used"
    assert "absent" in told(read)["folder/ann/4", "row"]


def test_folder_s_clips_have_keys_that_change_with_their_own_rows_only(clips):
    labels(clips, GOOD, PLAIN)
    before = [entry.key for entry in source("folder", clips).entries()]
    labels(clips, GOOD, (*PLAIN[:6], "30", "b"))
    after = [entry.key for entry in source("folder", clips).entries()]
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(("separator", "decimal"), [(",", "."), (";", ","), ("\t", ",")])
def test_folder_reads_what_spreadsheets_save(clips, separator, decimal):
    lines = [
        separator.join(COLUMNS),
        separator.join(PLAIN).replace("29.97", f"29{decimal}97"),
        separator * 7,
        "",
        separator.join(GOOD),
    ]
    (clips / "labels.csv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    read = source("folder", clips)
    assert [read.load(entry).fps for entry in read.entries()] == [29.97, 200.0]


def test_folder_reads_the_sheet_that_is_named(clips):
    labels(clips, GOOD, PLAIN)
    changed = [("1", "eve", "calm", 11, None, 18.0, 100, "a"), ("2", "eve", "glad", *PLAIN[3:])]
    table(clips / "other.xlsx", (*COLUMNS, "remark"), changed)
    read = source("folder", clips, sheet="other.xlsx")
    assert [entry.label for entry in read.entries()] == ["calm", "glad"]
    assert read.listing.facts["sheet"] == "other.xlsx"


def test_folder_leaves_out_rows_that_cannot_be_used_and_tells_their_lines(clips):
    bad = {
        "no path": ("3", "ann", "sad", "", "", "", "9", ""),
        "no label": ("4", "ann", "", "", "", "", "9", "a"),
        "onset": ("5", "ann", "sad", "first", "", "", "9", "a"),
        "rate": ("6", "ann", "sad", "", "", "", "fast", "a"),
        "no rate": ("7", "ann", "sad", "", "", "", "", "a"),
        "gone": ("8", "ann", "sad", "", "", "", "9", "z"),
        "again": ("1", "bob", "happy", "", "", "", "9", "b"),
    }
    labels(clips, GOOD, PLAIN, *bad.values())
    read = source("folder", clips)
    assert len(read.entries()) == 2
    left = [repair for repair in read.listing.repairs if repair.field == "row"]
    assert {repair.clip.rpartition("/")[2]: repair.reason for repair in left} == {
        "3": "the column path is blank",
        "4": "the column label is blank",
        "5": "the onset is not a frame number",
        "6": "fps is not a number from 1 to 20000",
        "7": "neither the sheet nor the file states the frames per second",
        "8": "its folder of frames is absent",
        "1": "another row has this subject, clip and onset",
    }
    assert {repair.was for repair in left} >= {"line 4", "line 5", "line 6", "line 7"}


def test_folder_names_the_columns_that_lack(clips):
    labels(clips, [*GOOD[:6]], header=("Clip", "Subject", "Label", "onset", "apex", "offset"))
    message = refusal("folder", clips)
    assert "labels.csv: no row holds all column names; line 1 lacks fps, path. Fix:" in message
    assert "name the columns clip, subject, label, onset, apex, offset, fps, path" in message


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([GOOD], "the column label holds fewer than two different labels (happy)"),
        ([GOOD, ("2", "ann", "Happy", *GOOD[3:])], "holds happy and Happy (line 3), which differ"),
    ],
)
def test_folder_needs_two_labels(clips, rows, reason):
    labels(clips, *rows)
    assert reason in refusal("folder", clips)


@pytest.mark.parametrize("spelt", ["Ann01", "ann1", "ANN001"])
def test_folder_refuses_a_subject_that_would_be_in_training_and_in_test(clips, spelt):
    first = ("1", "ann01", *GOOD[2:])
    labels(clips, first, PLAIN, ("2", spelt, *PLAIN[2:7], "c"))
    assert f"holds ann01 and {spelt} (line 4)" in refusal("folder", clips)
    labels(clips, first, ("2", "ann10", *PLAIN[2:]))
    assert len(source("folder", clips).entries()) == 2
    labels(clips, first, ("1", "bob", *PLAIN[2:7], "./a"))
    assert "the path ./a belongs to ann01 and, in line 3, to bob" in refusal("folder", clips)


def test_folder_leaves_out_a_path_that_the_system_refuses(clips):
    labels(clips, GOOD, PLAIN, ("2", "ann", *PLAIN[2:7], "a" * 300))
    read = source("folder", clips)
    assert len(read.entries()) == 2
    assert told(read)["folder/ann/2", "row"] == "File name too long"


def test_folder_names_a_sheet_that_is_not_utf_8(clips):
    text = "\n".join([",".join(COLUMNS), "1,jörg,happy,,,,9,a"])
    (clips / "labels.csv").write_bytes(text.encode("latin-1"))
    message = refusal("folder", clips)
    assert "labels.csv: not a readable .csv sheet" in message
    assert message.endswith("Fix: save it as CSV in UTF-8.")


def test_folder_without_a_sheet_says_what_is_expected_and_asks_nobody(tmp_path):
    message = refusal("folder", tmp_path)
    assert "holds no sheet labels.csv" in message
    assert "clip, subject, label, onset, apex, offset, fps, path" in message
    assert "signed agreement" not in message


def test_folder_has_one_map_only(clips):
    labels(clips, GOOD, PLAIN)
    assert refusal("folder", clips, classes="paper").endswith("One of: emotion.")


# The composite.


@pytest.fixture
def three(tmp_path):
    root = tmp_path / "three"
    draw(root / "SMIC" / "HS" / "s1" / "micro" / "positive" / "s1_po_01", range(5), "image{}.bmp")
    draw(root / "CASME2" / "CASME2_RAW_selected" / "sub01" / "EP01", range(9), "img{}.jpg")
    draw(root / "SAMM" / "SAMM" / "006" / "006_1_2", range(9), "006_{:05d}.jpg")
    header = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Estimated Emotion")
    rows = [("01", "EP01", 1, 3, 8, "repression"), ("01", "EP01", 1, 3, 8, "others")]
    table(root / "CASME2" / "CASME2-coding-20140508.xlsx", header, rows)
    rows = [("006", "006_1_2", 2, "/", 8, "Surprise")]
    table(root / "SAMM" / "SAMM_Micro_FACS_Codes_v2.xlsx", header, rows)
    return root


def test_composite_joins_three_databases_under_the_challenge_s_classes(three):
    read = source("composite", three)
    entries = read.entries()
    assert read.class_names == ("negative", "positive", "surprise")
    assert [(entry.name, entry.label) for entry in entries] == [
        ("smic/s01/s1_po_01", "positive"),
        ("casme2/sub01/EP01@1", "negative"),
        ("samm/006/006_1_2", "surprise"),
    ]
    assert [read.load(entry).fps for entry in entries] == [100.0, 200.0, 200.0]
    assert [read.load(entry).dataset for entry in entries] == ["smic", "casme2", "samm"]
    assert pickle.loads(pickle.dumps(read)).load(entries[2]).onset == 2


def test_composite_tells_what_it_found_in_each(three):
    read = source("composite", three)
    read.entries()
    assert read.listing.facts["casme2/sheet"] == "CASME2-coding-20140508.xlsx"
    found = {"smic/positive": 1, "casme2/negative": 1, "samm/surprise": 1}
    assert read.listing.clips == found
    assert "casme2/negative 1 (88)" in read.listing.deviation
    assert "where MEGC 2019 (See et al. 2019) states 442." in read.listing.deviation
    assert told(read)["samm/006/006_1_2", "apex"] == "no apex is marked"


def test_composite_takes_each_database_from_its_own_place(three, tmp_path):
    for name in ("SMIC", "CASME2", "SAMM"):
        (three / name).rename(tmp_path / name)
    changed = configured("composite", "")
    for name in READERS:
        changed.data.parts[name] = str(tmp_path / name.upper())
    assert len(registry.source(changed).entries()) == 3


def test_composite_needs_no_field_for_its_parts(three):
    changed = configured("casme2", three, classes="megc2019")
    changed.data.dataset = "composite"
    assert len(registry.source(changed).entries()) == 3


def test_composite_tells_at_once_all_that_is_missing(three):
    message = refusal("composite", three / "nothing")
    assert message.count("there is no folder") == 3
    for name in ("SMIC", "CASME II", "SAMM", "--config.data.parts.smic="):
        assert name in message
    (three / "SAMM" / "SAMM_Micro_FACS_Codes_v2.xlsx").unlink()
    (three / "CASME2" / "CASME2-coding-20140508.xlsx").unlink()
    message = refusal("composite", three)
    assert "SAMM_Micro_FACS_Codes_v2" in message
    assert "CASME2-coding-20140508" in message
    assert "SMIC (HS)" not in message


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("classes", "paper", "Fix: --config.data.classes=megc2019."),
        ("classes", "five", "unknown classes of smic"),
        ("sheet", "one.xlsx", "the composite reads several"),
    ],
)
def test_composite_refuses_what_its_parts_do_not_share(three, field, value, reason):
    assert reason in refusal("composite", three, **{field: value})
